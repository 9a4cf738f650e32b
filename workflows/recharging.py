"""Have an organisation's saved card charged, if that is due: what other processes need of it.

By name: a recharge has payments looked at, and payments tell recharges, so one of the two cannot
import the other.
"""

from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

from activities.attributes import ORG_ID, RUNNING
from billing.recharge_notes import recharge_workflow_id
from workflows.options import BILLING_QUEUE, StartOptions
from workflows.reach import start_or_tell

WORKFLOW = "AutoRecharge"
CROSSED = "crossed"
CHANGED = "changed"


async def recharge_short(org_id: str) -> None:
    """See to it that a wallet below its threshold is looked at after this moment."""
    why = "the balance is below the threshold, or could not pay a call"
    await start_or_tell(WORKFLOW, org_id, start_options(org_id), CROSSED, why)


async def recharge_again(org_id: str, why: str) -> None:
    """See to it that what keeps a card from being charged is looked at after this moment."""
    await start_or_tell(WORKFLOW, org_id, start_options(org_id), CHANGED, why)


def start_options(org_id: str) -> StartOptions:
    """Say how a recharge is started: again and again, but one at a time."""
    return StartOptions(
        id=recharge_workflow_id(org_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Recharge the wallet of {org_id[:120]} by its saved card",
        search_attributes=TypedSearchAttributes([*RUNNING, SearchAttributePair(ORG_ID, org_id)]),
    )
