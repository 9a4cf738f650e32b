"""A workflow that has alerts delivered and goes on, as every process of ours does."""

from temporalio import workflow

from workflows.shared.alert_requests import deliver_alerts


@workflow.defn
class Raising:
    """Start the delivery of alerts, and end."""

    @workflow.run
    async def run(self, _: str) -> str:
        """Return the time at which it went on, by its history."""
        await deliver_alerts()
        return workflow.now().isoformat()
