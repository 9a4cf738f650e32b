"""What both drains of the inbox share: drain when nudged, and otherwise sweep."""

from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Generic, TypeVar

from temporalio import workflow

from billing.inbox.webhook_event import Drained, DrainedMessages

# A workflow may have 2,000 children that have not ended, and parked work does not end for days.
MOST_HANDED_OVER = 1000
# Temporal would let a history grow to 4,096 events. A worker that has lost its cache reads all of
# them again before it drains anything, and may do so on a busy machine.
LONGEST_HISTORY = 500
Result = TypeVar("Result", Drained, DrainedMessages)


class DrainProcess(ABC, Generic[Result]):
    """One for all, for ever: it drains when nudged, and otherwise sweeps."""

    def __init__(self) -> None:
        self._nudged = False

    @workflow.signal(description="There is something in the inbox for it.")
    def nudge(self) -> None:
        """Drain now, or once more after the drain that is under way."""
        self._nudged = True

    @abstractmethod
    async def settle(self) -> Result:
        """Settle what is due."""

    @abstractmethod
    async def hand_over(self, drained: Result) -> None:
        """Give what could not be settled to workflows of its own."""

    async def drain_for_ever(self) -> None:
        """Drain, hand over what a batch cannot settle, wait; begin anew before it grows long."""
        handed_over = 0
        while handed_over < MOST_HANDED_OVER and not _is_long():
            self._nudged = False
            drained = await self.settle()
            await self.hand_over(drained)
            handed_over += drained.handed_over
            if drained.pause_seconds:
                await self._wait(timedelta(seconds=drained.pause_seconds))
        workflow.continue_as_new()

    async def _wait(self, longest: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self._nudged, timeout=longest)
        except TimeoutError:
            return


def _is_long() -> bool:
    info = workflow.info()
    sooner = workflow.patched("begins-anew-sooner")
    return info.is_continue_as_new_suggested() or (
        sooner and info.get_current_history_length() >= LONGEST_HISTORY
    )
