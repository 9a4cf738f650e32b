"""Money has arrived, or an assistant has found its owner: charge the calls that waited for it."""

import asyncio
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

from activities.calls import CallActivities
from billing.call import Collection, call_workflow_id
from workflows.attributes import ORG_ID
from workflows.bill_call import BillCall
from workflows.options import BILLING_QUEUE, PATIENT, StartOptions
from workflows.reach import start_or_tell, tell
from workflows.recharging import recharge_short

# A workflow may have 2,000 signals on their way.
TOLD_AT_ONCE = 200


@workflow.defn
class Collect:
    """The charges that wait for one organisation, oldest first.

    They are charged here, in one transaction a batch, so that the order is the ledger's and not
    that of a thousand workflows waking up; each of those is then told, finds its charge, and ends.
    """

    def __init__(self) -> None:
        self._look = True

    @workflow.signal(description="More money has arrived for this organisation.")
    def again(self, why: str) -> None:
        """Look again: what was read so far may be older than what has just happened."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True

    @workflow.run
    async def run(self, collection: Collection) -> int:
        """Charge all that can be charged, then tell; answers how many it told.

        Charging comes first, or the calls of the minutes that telling thousands takes would go
        before those that have waited longest.
        """
        untold, told = list(collection.untold), 0
        while True:
            untold += await self._charge(collection.org_id)
            if not untold:
                return told
            portion, untold = untold[:TOLD_AT_ONCE], untold[TOLD_AT_ONCE:]
            await _tell(portion)
            told += len(portion)
            if untold and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(Collection(collection.org_id, tuple(untold)))

    async def _charge(self, org_id: str) -> list[str]:
        """Charge batch by batch while there is reason to; answers whom to tell."""
        changed: list[str] = []
        is_short = False
        while self._look:
            self._look = False
            batch = await workflow.execute_activity_method(
                CallActivities.collect, org_id, summary="charge what waits", **PATIENT
            )
            changed += batch.call_ids
            is_short = is_short or batch.is_short
            self._look = self._look or batch.more
        if is_short:
            await recharge_short(org_id)
        return changed


async def _tell(call_ids: Sequence[str]) -> None:
    """Wake the calls' workflows; one that was refused in a flood has none yet, and needs none."""
    why = f"{workflow.info().workflow_id}: there is something new for it"
    wakes = (tell(call_workflow_id(call_id), BillCall.reprocess, why) for call_id in call_ids)
    await asyncio.gather(*wakes)


async def collect_waiting(org_id: str) -> None:
    """See to it that what waits for an organisation is looked at after this moment."""
    await start_or_tell(
        Collect.run,
        Collection(org_id),
        start_options(org_id),
        Collect.again,
        "something is new",
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
