"""Money has arrived, or an assistant has found its owner: charge the calls that waited for it."""

import asyncio

from temporalio import workflow
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

from activities.calls import CallActivities
from billing.call import call_workflow_id
from workflows.attributes import ORG_ID
from workflows.bill_call import BillCall
from workflows.options import BILLING_QUEUE, PATIENT, StartOptions
from workflows.reach import start_or_tell, tell


@workflow.defn
class Collect:
    """The charges that wait for one organisation, oldest first.

    They are charged here, in one transaction a batch, so that the order is the ledger's and not
    that of a thousand workflows waking up; each of those is then told, finds its charge, and ends.
    """

    def __init__(self) -> None:
        self._again = False

    @workflow.signal(description="More money has arrived for this organisation.")
    def again(self, why: str) -> None:
        """Look again: what was read so far may be older than what has just happened."""
        workflow.logger.debug("asked to look again: %s", why)
        self._again = True

    @workflow.run
    async def run(self, org_id: str) -> int:
        """Charge and tell, batch by batch; answers how many calls wait no more."""
        collected, more = 0, True
        while more or self._again:
            self._again = False
            batch = await workflow.execute_activity_method(
                CallActivities.collect, org_id, summary="charge what waits", **PATIENT
            )
            # A call that was charged in a flood has no workflow to wake (yet); nothing is lost.
            why = f"{workflow.info().workflow_id}: there is something new for it"
            wakes = (
                tell(call_workflow_id(call_id), BillCall.reprocess, why)
                for call_id in batch.call_ids
            )
            await asyncio.gather(*wakes)
            collected, more = collected + len(batch.call_ids), batch.more
            if more and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(org_id)
        return collected


async def collect_waiting(org_id: str) -> None:
    """See to it that what waits for an organisation is looked at after this moment."""
    await start_or_tell(
        Collect.run, org_id, start_options(org_id), Collect.again, "something is new"
    )


def start_options(org_id: str) -> StartOptions:
    """Say how a collection is started: again and again, but one at a time."""
    return StartOptions(
        id=f"collect/{org_id}",
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Charge the calls that waited for {org_id[:120]}",
        search_attributes=TypedSearchAttributes([SearchAttributePair(ORG_ID, org_id)]),
    )
