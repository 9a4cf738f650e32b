"""The batch lane of messages, and the net under the other one: apart, because it asks Twilio."""

import asyncio
from datetime import timedelta

from temporalio import workflow

from activities.message_inbox import MessageLane
from billing.webhook import DrainedMessages
from workflows.bill_message import hear_of
from workflows.options import DRAIN_MESSAGES
from workflows.recharging import recharge_short

WORKFLOW_ID = "inbox/messages"
SUMMARY = "Settle what the inbox has about messages; sweep up what was never started"
SWEEP_EVERY = timedelta(seconds=10)
# A workflow may have 2,000 children that have not ended, and parked messages do not end for days.
MOST_HANDED_OVER = 1000


@workflow.defn
class DrainMessages:
    """One for all, for ever: calls do not wait for Twilio, and messages not for calls."""

    def __init__(self) -> None:
        self._nudged = False

    @workflow.signal(description="There is something about messages in the inbox.")
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
                MessageLane.drain_messages, summary="settle what is due", **DRAIN_MESSAGES
            )
            await _hand_over(drained)
            handed_over += len(drained.messages) + len(drained.short)
            if not drained.more:
                await self._wait()
        workflow.continue_as_new()

    async def _wait(self) -> None:
        try:
            await workflow.wait_condition(lambda: self._nudged, timeout=SWEEP_EVERY)
        except TimeoutError:
            return


def _is_long() -> bool:
    return workflow.info().is_continue_as_new_suggested()


async def _hand_over(drained: DrainedMessages) -> None:
    """Give each its own workflow, or tell the one that it has."""
    await asyncio.gather(
        *(hear_of(seen) for seen in drained.messages),
        *(recharge_short(org_id) for org_id in drained.short),
    )
