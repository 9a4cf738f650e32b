"""Ask for the delivery of alerts, from another process.

`DeliverAlerts` is named, not imported: the sandbox would load its module anew for each process.
"""

from temporalio import workflow
from temporalio.common import TypedSearchAttributes, WorkflowIDReusePolicy

from workflows.shared.options import BILLING_QUEUE, StartOptions
from workflows.shared.start_or_signal import start_or_signal

WORKFLOW = "DeliverAlerts"
WORKFLOW_ID = "alerts/deliver"
AGAIN = "again"


async def deliver_alerts() -> None:
    """Start the delivery of alerts stored so far, or signal the one that runs.

    Return without waiting for Slack.
    """
    why = f"{workflow.info().workflow_id} may have stored an alert"
    await start_or_signal(WORKFLOW, 0, start_options(), AGAIN, why)


def start_options() -> StartOptions:
    """Return how a delivery is started: any number of times, but one at a time."""
    return StartOptions(
        id=WORKFLOW_ID,
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary="Deliver the alerts in the outbox to Slack",
        search_attributes=TypedSearchAttributes.empty,
    )
