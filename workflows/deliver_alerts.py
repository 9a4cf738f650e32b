"""Deliver the alerts that wait in the outbox, for as long as it takes."""

from temporalio import workflow

from activities.alerts.outbox import AlertActivities
from workflows.shared.options import ALERTS


@workflow.defn
class DeliverAlerts:
    """Deliver what waits in the outbox, oldest first, until it is empty. One runs at a time."""

    def __init__(self) -> None:
        self._look = True

    @workflow.signal(description="There may be an alert in the outbox.")
    def again(self, why: str) -> None:
        """Look again: what was read so far may be older than the alert that was just stored."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True

    @workflow.run
    async def run(self, delivered: int = 0) -> int:
        """Deliver batch by batch while there is reason to; return how many, `delivered` included.

        While Slack is down it is the activity that waits, whatever is signalled meanwhile.
        """
        while self._look:
            self._look = False
            delivery = await workflow.execute_activity_method(
                AlertActivities.deliver, summary="deliver what waits", **ALERTS
            )
            delivered += delivery.delivered
            self._look = self._look or delivery.more
            if self._look and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(delivered)
        return delivered
