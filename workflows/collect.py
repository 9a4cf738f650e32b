"""Money has arrived, or a call or message has found its owner: charge what waited for it."""

import asyncio
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

from activities.attributes import ORG_ID
from activities.collecting import Collecting
from billing.call import Collected, Collection, CollectionResult, call_workflow_id
from billing.message import message_workflow_id
from workflows.options import BILLING_QUEUE, PATIENT, StartOptions
from workflows.parking import Parking
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
        self._result = CollectionResult()

    @workflow.signal(description="More money has arrived for this organisation.")
    def again(self, why: str) -> None:
        """Look again: what was read so far may be older than what has just happened."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True

    @workflow.run
    async def run(self, collection: Collection) -> CollectionResult:
        """Charge all that can be charged, then tell.

        Charging comes first, or the charges of the minutes that telling thousands takes would go
        before those that have waited longest.
        """
        untold = _untold(collection)
        self._result = collection.so_far or self._result
        while True:
            untold += await self._charge(collection.org_id)
            if not untold:
                return self._result
            portion, untold = untold[:TOLD_AT_ONCE], untold[TOLD_AT_ONCE:]
            await _tell(portion)
            self._result += CollectionResult(told=len(portion))
            if untold and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(
                    Collection(
                        collection.org_id, untold_workflows=tuple(untold), so_far=self._result
                    )
                )

    async def _charge(self, org_id: str) -> list[str]:
        """Charge batch by batch while there is reason to; answers whom to tell."""
        changed: list[str] = []
        is_short = False
        while self._look:
            self._look = False
            batch = await workflow.execute_activity_method(
                Collecting.collect, org_id, summary="charge what waits", **PATIENT
            )
            changed += _changed(batch)
            self._result += CollectionResult(postings=batch.postings)
            is_short = is_short or batch.is_short
            self._look = self._look or batch.more
        if is_short:
            await recharge_short(org_id)
        return changed


def _untold(collection: Collection) -> list[str]:
    return [*map(call_workflow_id, collection.untold), *collection.untold_workflows]


def _changed(batch: Collected) -> list[str]:
    return [*map(call_workflow_id, batch.call_ids), *map(message_workflow_id, batch.sids)]


async def _tell(workflow_ids: Sequence[str]) -> None:
    """Wake workflows; a charge that was refused in a flood may have none yet, and needs none."""
    why = f"{workflow.info().workflow_id}: there is something new for it"
    await asyncio.gather(*(tell(one, Parking.wake_up, why) for one in workflow_ids))


async def collect_waiting(org_id: str) -> None:
    """See to it that what waits for an organisation is looked at after this moment.

    By name, for nobody reads what comes of it, and it was a number once.
    """
    await start_or_tell(
        Collect.__name__,
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
        static_summary=f"Charge what waited for {org_id[:120]}",
        search_attributes=TypedSearchAttributes([SearchAttributePair(ORG_ID, org_id)]),
    )
