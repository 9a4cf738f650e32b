"""Drain the inbox: settle in batches what no workflow of its own has settled."""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.postings import books
from billing.call import CallBill, CallState, EndedCall
from billing.ledger import NO_POSTINGS, Tally, tally
from billing.webhook import (
    HANDED_OVER_GRACE_SECONDS,
    POSTPONED_SECONDS,
    Drained,
    PaymentHint,
)
from store import calls, inbox, ongoing
from store.inbox import DueEvent

BATCH = 500
# What a batch cannot settle is handed over in portions, so that the answer stays small and starting
# workflows by the thousand does not hold up those events that a batch can settle.
MOST_EXCEPTIONS = 300
# In a flood new events come all the time: the drain lingers a little for them to gather.
LINGER_SECONDS = 0.05
LINGER_ROUNDS = 10
# A flood may last, and a wallet that is short cannot wait for its end.
TOLD_WITHIN_SECONDS = 3.0
_FINAL = (CallState.SETTLED, CallState.DISCARDED)


@dataclass(frozen=True, slots=True)
class _Batch:
    """What became of a batch of events."""

    taken: int
    settled: int
    handed_over: Sequence[DueEvent]
    postponed: int
    short: frozenset[str] = frozenset()
    postings: Tally = NO_POSTINGS


class InboxActivities:
    """The batch lane."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def drain(self) -> Drained:
        """Settle batches while there are any; returns what needs workflows of their own."""
        handed_over: list[DueEvent] = []
        short: set[str] = set()
        settled = postponed = idle = 0
        postings = NO_POSTINGS
        began = time.monotonic()
        while idle < LINGER_ROUNDS and not (postponed and idle) and not _is_late(short, began):
            batch = await self._batch(MOST_EXCEPTIONS - len(handed_over))
            handed_over += batch.handed_over
            settled, postponed = settled + batch.settled, postponed + batch.postponed
            short |= batch.short
            postings += batch.postings
            idle = 0 if batch.taken else idle + 1
            activity.heartbeat(settled)
            if batch.taken < BATCH:
                await asyncio.sleep(LINGER_SECONDS)
        reported = (event.call for event in handed_over if event.call is not None)
        overdue = await self._overdue(MOST_EXCEPTIONS - len(handed_over))
        return Drained(
            settled=settled,
            calls=(*reported, *overdue),
            payments=tuple(
                PaymentHint(event.subject, event.key) for event in handed_over if event.call is None
            ),
            more=postponed > 0,
            short=tuple(sorted(short)),
            cut_short=idle == 0,
            postings=postings,
        )

    async def _overdue(self, room: int) -> list[EndedCall]:
        """Find calls whose reports are lost: their workflows ask Vapi how they ended."""
        async with self._engine.begin() as connection:
            return await ongoing.take_overdue(connection, room, HANDED_OVER_GRACE_SECONDS)

    async def _batch(self, room: int) -> _Batch:
        """Settle one batch, and hand over up to `room` of what it cannot settle.

        A batch that the database refuses is handed over unsettled: one of its rows is bad, and the
        others must not wait for it.
        """
        try:
            async with books(self._engine) as connection:
                due = await inbox.take_due(connection, BATCH)
                bills = await _settle(connection, due)
                final = await _handled(connection, due, bills)
                batch = await _hand_over(connection, due, final, room)
            return replace(
                batch,
                short=frozenset(bill.org_id for bill in bills if bill.is_short and bill.org_id),
                postings=tally(bill.posting for bill in bills),
            )
        except (DataError, IntegrityError):
            activity.logger.exception("a batch was refused; each event gets its own workflow")
            async with self._engine.begin() as connection:
                due = await inbox.take_due(connection, BATCH)
                return await _hand_over(connection, due, set(), room)


def _is_late(short: Collection[str], began: float) -> bool:
    return bool(short) and time.monotonic() - began > TOLD_WITHIN_SECONDS


async def _settle(connection: AsyncConnection, due: Sequence[DueEvent]) -> list[CallBill]:
    """Charge the calls among the events, each once."""
    ended = {event.call.call_id: event.call for event in due if event.call is not None}
    if not ended:
        return []
    return await calls.charge(connection, list(ended.values()), activity.info().workflow_id)


async def _handled(
    connection: AsyncConnection, due: Sequence[DueEvent], bills: Sequence[CallBill]
) -> set[int]:
    """Mark what is done with; answers with its numbers."""
    final = {bill.call_id for bill in bills if bill.state in _FINAL}
    done = {event.event_id for event in due if event.call and event.call.call_id in final}
    if done:
        await inbox.handled(connection, done)
    return done


async def _hand_over(
    connection: AsyncConnection, due: Sequence[DueEvent], done: Collection[int], room: int
) -> _Batch:
    left = [event for event in due if event.event_id not in done]
    handed_over, postponed = left[:room], left[room:]
    if handed_over:
        await inbox.postpone(connection, _ids(handed_over), HANDED_OVER_GRACE_SECONDS)
    if postponed:
        await inbox.postpone(connection, _ids(postponed), POSTPONED_SECONDS)
    return _Batch(len(due), len(done), handed_over, len(postponed))


def _ids(events: Sequence[DueEvent]) -> list[int]:
    return [event.event_id for event in events]
