"""Alerts wait in the outbox: have them delivered, for as long as it takes."""

from temporalio import workflow
from temporalio.common import TypedSearchAttributes, WorkflowIDReusePolicy

from activities.alerts import AlertActivities
from workflows.options import ALERTS, BILLING_QUEUE, StartOptions
from workflows.reach import start_or_tell

WORKFLOW_ID = "alerts/deliver"


@workflow.defn
class DeliverAlerts:
    """One at a time delivers what waits in the outbox, oldest first, and ends when it is empty."""

    def __init__(self) -> None:
        self._look = True

    @workflow.signal(description="There may be an alert in the outbox.")
    def again(self, why: str) -> None:
        """Look again: what was read so far may be older than what has just been stored."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True

    @workflow.run
    async def run(self, delivered: int = 0) -> int:
        """Deliver batch by batch while there is reason to; answers how many, `delivered` included.

        A Slack that is down is the activity's to wait for, whatever is signalled meanwhile.
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


async def deliver_alerts() -> None:
    """See to it that alerts stored before this moment are delivered; does not wait for Slack."""
    await start_or_tell(
        DeliverAlerts.run,
        0,
        start_options(),
        DeliverAlerts.again,
        f"{workflow.info().workflow_id} may have stored an alert",
    )


def start_options() -> StartOptions:
    """Say how a delivery is started: again and again, but one at a time."""
    return StartOptions(
        id=WORKFLOW_ID,
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary="Deliver the alerts in the outbox to Slack",
        search_attributes=TypedSearchAttributes.empty,
    )
