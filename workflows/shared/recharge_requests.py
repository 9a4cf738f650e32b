"""Ask an organisation's recharge process to look at the wallet, from another process.

`AutoRecharge` is named, not imported: it imports `SettlePayment`, which asks for recharges here.
"""

from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy

from activities.temporal.search_attributes import ORG_ID, RUNNING
from billing.recharges.recharge import recharge_workflow_id
from workflows.shared.options import BILLING_QUEUE, StartOptions
from workflows.shared.start_or_signal import start_or_signal

WORKFLOW = "AutoRecharge"
CROSSED = "crossed"
CHANGED = "changed"


async def recharge_short(org_id: str) -> None:
    """Start the recharge of an organisation, or signal it that the wallet is short."""
    why = "the balance is below the threshold, or could not pay a call"
    await start_or_signal(WORKFLOW, org_id, start_options(org_id), CROSSED, why)


async def recharge_again(org_id: str, why: str) -> None:
    """Start the recharge of an organisation, or signal it that something has changed.

    It then looks again at whatever kept the card from being charged.
    """
    await start_or_signal(WORKFLOW, org_id, start_options(org_id), CHANGED, why)


def start_options(org_id: str) -> StartOptions:
    """Return how a recharge is started: any number of times, but one at a time."""
    return StartOptions(
        id=recharge_workflow_id(org_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Recharge the wallet of {org_id[:120]} by its saved card",
        search_attributes=TypedSearchAttributes([*RUNNING, SearchAttributePair(ORG_ID, org_id)]),
    )
