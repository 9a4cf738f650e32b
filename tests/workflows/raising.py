"""A process that may have stored an alert, and goes on: how every one of ours uses the outbox."""

from temporalio import workflow

from workflows.deliver_alerts import deliver_alerts


@workflow.defn
class Raising:
    """Has alerts delivered, and ends."""

    @workflow.run
    async def run(self, _: str) -> str:
        """Answer with when it was done, as its history has it."""
        await deliver_alerts()
        return workflow.now().isoformat()
