"""Look from time to time whether what should happen by itself does happen."""

from temporalio import workflow

from activities.reconciliation import ReconciliationActivities
from workflows.deliver_alerts import deliver_alerts
from workflows.options import PATIENT


@workflow.defn
class WatchBilling:
    """The watchman's round: nothing that is missing raises an alarm by itself."""

    @workflow.run
    async def run(self) -> None:
        """Look, and have what is to be told delivered."""
        await workflow.execute_activity_method(
            ReconciliationActivities.watch_schedules,
            workflow.now(),
            summary="was everything reconciled?",
            **PATIENT,
        )
        await deliver_alerts()
