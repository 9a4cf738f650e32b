"""Ask for the collection of an organisation, from another process.

`Collect` is named, not imported: the sandbox would load its module anew for each call.
"""

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy

from activities.temporal.search_attributes import ORG_ID
from billing.collection import CollectionRequest
from workflows.shared.options import BILLING_QUEUE, StartOptions
from workflows.shared.start_or_signal import start_or_signal

WORKFLOW = "Collect"
AGAIN = "again"


async def collect_waiting(org_id: str) -> None:
    """Start the collection of an organisation, or make the one that runs look once more."""
    request = CollectionRequest(org_id)
    await start_or_signal(WORKFLOW, request, start_options(org_id), AGAIN, "something is new")


async def collect_what_it_pays(org_id: str) -> None:
    """Start the collection of an organisation that a charge has given money back to."""
    if workflow.patched("what-is-given-back-collects"):
        await collect_waiting(org_id)


def start_options(org_id: str) -> StartOptions:
    """Return how a collection is started: any number of times, but one at a time."""
    return StartOptions(
        id=f"collect/{org_id}",
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Charge what waited for {org_id[:120]}",
        search_attributes=TypedSearchAttributes([SearchAttributePair(ORG_ID, org_id)]),
    )
