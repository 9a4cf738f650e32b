"""Drain the inbox: settle in batches what no workflow of its own has settled."""

import asyncio
from collections.abc import Sequence

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from billing.call import CallState
from billing.webhook import Drained, PaymentHint
from store import calls, inbox
from store.inbox import DueEvent

BATCH = 500
# The drain hands its exceptions over when it has this many, so that its answer stays small.
MOST_EXCEPTIONS = 200
# In a flood new events come all the time: the drain lingers a little for them to gather.
LINGER_SECONDS = 0.05
LINGER_ROUNDS = 10
_FINAL = (CallState.SETTLED, CallState.DISCARDED)


class InboxActivities:
    """The batch lane."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def drain(self) -> Drained:
        """Settle batches while there are any; returns what needs workflows of their own."""
        exceptions: list[DueEvent] = []
        settled = idle = 0
        while idle < LINGER_ROUNDS and len(exceptions) < MOST_EXCEPTIONS:
            taken, left = await self._batch()
            settled += taken - len(left)
            exceptions += left
            idle = 0 if taken else idle + 1
            activity.heartbeat(settled)
            if taken < BATCH:
                await asyncio.sleep(LINGER_SECONDS)
        return Drained(
            settled=settled,
            calls=tuple(event.call for event in exceptions if event.call is not None),
            payments=tuple(
                PaymentHint(event.subject, event.key) for event in exceptions if event.call is None
            ),
        )

    async def _batch(self) -> tuple[int, list[DueEvent]]:
        """Settle one batch; answers how many were taken and which of them are exceptions.

        A batch that the database refuses goes to workflows of its own whole: one of its rows is
        bad, and the others must not wait for it.
        """
        try:
            async with self._engine.begin() as connection:
                due = await inbox.take_due(connection, BATCH)
                return len(due), await _settle(connection, due)
        except (DataError, IntegrityError):
            activity.logger.exception("a batch was refused; each event gets its own workflow")
            async with self._engine.begin() as connection:
                due = await inbox.take_due(connection, MOST_EXCEPTIONS)
                await inbox.hand_over(connection, [event.event_id for event in due])
                return len(due), due


async def _settle(connection: AsyncConnection, due: Sequence[DueEvent]) -> list[DueEvent]:
    ended = [event.call for event in due if event.call is not None]
    bills = await calls.charge(connection, ended, activity.info().workflow_id) if ended else []
    final = {bill.call_id for bill in bills if bill.state in _FINAL}
    done = [event.event_id for event in due if event.call and event.call.call_id in final]
    left = [event for event in due if not (event.call and event.call.call_id in final)]
    if done:
        await inbox.handled(connection, done)
    if left:
        await inbox.hand_over(connection, [event.event_id for event in left])
    return left
