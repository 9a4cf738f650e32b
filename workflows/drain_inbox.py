"""The batch lane, and the net under the other one: whatever waits in the inbox is settled."""

import asyncio
from datetime import timedelta

from temporalio import workflow

from activities.inbox import InboxActivities
from billing.webhook import POSTPONED_SECONDS, Drained
from workflows import bill_call
from workflows.bill_call import BillCall
from workflows.options import DRAIN
from workflows.reach import start
from workflows.recharging import recharge_short
from workflows.settle_payment import look_again_at

WORKFLOW_ID = "inbox/drain"
SUMMARY = "Settle the inbox in batches; sweep up what was never started"
# Without a nudge it looks this often for events whose workflow was never started.
SWEEP_EVERY = timedelta(seconds=10)
POSTPONED = timedelta(seconds=POSTPONED_SECONDS)
# A workflow may have 2,000 children that have not ended, and parked calls do not end for days.
MOST_HANDED_OVER = 1000


@workflow.defn
class DrainInbox:
    """One for all, for ever: it drains when nudged, and otherwise sweeps."""

    def __init__(self) -> None:
        self._nudged = False

    @workflow.signal(description="There is something in the inbox.")
    def nudge(self) -> None:
        """Drain now, or once more after the drain that is under way."""
        self._nudged = True

    @workflow.run
    async def run(self) -> None:
        """Drain, hand over what a batch cannot settle, wait; begin anew before it grows long."""
        handed_over = 0
        while handed_over < MOST_HANDED_OVER and not _is_long():
            self._nudged = False
            drained = await workflow.execute_activity_method(
                InboxActivities.drain, summary="settle what is due", **DRAIN
            )
            await _hand_over(drained)
            handed_over += len(drained.calls) + len(drained.payments) + len(drained.short)
            if not drained.cut_short:
                await self._wait(POSTPONED if drained.more else SWEEP_EVERY)
        workflow.continue_as_new()

    async def _wait(self, longest: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self._nudged, timeout=longest)
        except TimeoutError:
            return


def _is_long() -> bool:
    return workflow.info().is_continue_as_new_suggested()


async def _hand_over(drained: Drained) -> None:
    """Give each its own workflow; a call that has (had) one is seen to by that one.

    An organisation whose wallet is short is told of once, however many calls have found it so.
    """
    await asyncio.gather(
        *(start(BillCall.run, call, bill_call.start_options(call)) for call in drained.calls),
        *(look_again_at(hint) for hint in drained.payments),
        *(recharge_short(org_id) for org_id in drained.short),
    )
