"""Charge what waited for an organisation, once money has arrived or an owner is known."""

import asyncio
from collections.abc import Sequence

from temporalio import workflow

from activities.collection.collection import CollectionActivities
from billing.calls.call import call_workflow_id
from billing.collection import CollectedBatch, CollectionRequest, CollectionResult
from billing.messages.message import message_workflow_id
from workflows.shared.options import PATIENT
from workflows.shared.parking import Parking
from workflows.shared.recharge_requests import recharge_short
from workflows.shared.start_or_signal import signal

# Temporal lets a workflow have 2,000 signals under way.
SIGNALLED_AT_ONCE = 200


@workflow.defn
class Collect:
    """Charge the calls and messages that wait for one organisation, oldest first.

    They are charged here, one transaction a batch, so that the oldest come first: if a thousand
    workflows woke up instead, their order would be chance. Each workflow is then signalled, finds
    its charge, and ends.
    """

    def __init__(self) -> None:
        self._look = True
        self._result = CollectionResult()

    @workflow.signal(description="More money has arrived for this organisation.")
    def again(self, why: str) -> None:
        """Look again: what was read so far may be older than this news."""
        workflow.logger.debug("asked to look again: %s", why)
        self._look = True

    @workflow.run
    async def run(self, collection: CollectionRequest) -> CollectionResult:
        """Charge all that can be charged, then signal the workflows that waited.

        To signal thousands takes minutes. New charges of those minutes would be made before older
        ones that still wait, so everything is charged before anything is signalled.
        """
        untold = _untold(collection)
        self._result = collection.so_far or self._result
        while True:
            untold += await self._charge(collection.org_id)
            # It may have been told to look again while it asked for a recharge.
            if not untold and not self._look:
                return self._result
            portion, untold = untold[:SIGNALLED_AT_ONCE], untold[SIGNALLED_AT_ONCE:]
            await _signal_all(portion)
            self._result += CollectionResult(told=len(portion))
            if untold and workflow.info().is_continue_as_new_suggested():
                workflow.continue_as_new(
                    CollectionRequest(
                        collection.org_id, untold_workflows=tuple(untold), so_far=self._result
                    )
                )

    async def _charge(self, org_id: str) -> list[str]:
        """Charge batch by batch while there is reason to; return the workflows to signal."""
        changed: list[str] = []
        is_short = False
        while self._look:
            self._look = False
            batch = await workflow.execute_activity_method(
                CollectionActivities.collect, org_id, summary="charge what waits", **PATIENT
            )
            changed += _changed(batch)
            self._result += CollectionResult(postings=batch.postings)
            is_short = is_short or batch.is_short
            self._look = self._look or batch.more
        if is_short:
            await recharge_short(org_id)
        return changed


def _untold(collection: CollectionRequest) -> list[str]:
    return [*map(call_workflow_id, collection.untold), *collection.untold_workflows]


def _changed(batch: CollectedBatch) -> list[str]:
    return [*map(call_workflow_id, batch.call_ids), *map(message_workflow_id, batch.sids)]


async def _signal_all(workflow_ids: Sequence[str]) -> None:
    """Wake workflows up. A charge that was refused in a flood may have none yet; it needs none."""
    why = f"{workflow.info().workflow_id}: there is something new for it"
    await asyncio.gather(*(signal(one, Parking.wake_up, why) for one in workflow_ids))
