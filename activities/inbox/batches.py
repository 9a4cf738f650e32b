"""Settle what is due batch by batch: for the drain of the inbox, and for that of messages."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from activities.inbox.isolation import write_apart
from billing.alerts.inbox import unreadable, unwritable
from billing.calls.call import EndedCall
from billing.inbox.webhook_event import HANDED_OVER_GRACE_SECONDS, POSTPONED_SECONDS
from billing.ledger.entry import NO_POSTINGS, PostingCounts
from store.alerts import alerts
from store.inbox import inbox
from store.inbox.inbox import DueEvent

# What a batch cannot settle is handed over in portions, so that the answer stays small and starting
# workflows by the thousand does not hold up those events that a batch can settle.
MOST_EXCEPTIONS = 300
# In a flood new events come all the time: the drain lingers a little for them to gather.
LINGER_SECONDS = 0.05
LINGER_ROUNDS = 10
# A flood may last, and a wallet that is short cannot wait for its end.
TOLD_WITHIN_SECONDS = 3.0
# What fails alone waits as a process of its own, where a person sees it. It comes again this late.
SET_ASIDE_GRACE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of events: how many were taken and settled, and which were handed over.

    `postponed` counts those that there was no room to hand over. `short` are organisations whose
    cards should be charged; `richer` are those that were given money back. `stuck` are events that
    nobody can write: this drain passes over them from now on.
    """

    taken: int = 0
    settled: int = 0
    handed_over: tuple[DueEvent, ...] = ()
    postponed: int = 0
    short: frozenset[str] = frozenset()
    postings: PostingCounts = NO_POSTINGS
    richer: frozenset[str] = frozenset()
    stuck: frozenset[int] = frozenset()

    def __add__(self, other: "Batch") -> "Batch":
        return Batch(
            self.taken + other.taken,
            self.settled + other.settled,
            self.handed_over + other.handed_over,
            self.postponed + other.postponed,
            self.short | other.short,
            self.postings + other.postings,
            self.richer | other.richer,
            self.stuck | other.stuck,
        )


async def settle_batches(
    settle: Callable[[int, Collection[int]], Awaitable[Batch]], size: int
) -> tuple[Batch, bool]:
    """Settle batches of up to `size` while there are any.

    `settle` is given how many events it may hand over (less than none: so many wait already), and
    which it passes over. Return the sum, and whether it was cut short for the sake of wallets that
    are short.
    """
    total, idle, began = Batch(), 0, time.monotonic()
    while idle < LINGER_ROUNDS and not (total.postponed and idle) and not _is_late(total, began):
        room = MOST_EXCEPTIONS - len(total.handed_over) - total.postponed
        batch = await settle(room, total.stuck)
        total += batch
        idle = 0 if batch.taken else idle + 1
        activity.heartbeat(total.settled)
        if batch.taken < size:
            await asyncio.sleep(LINGER_SECONDS)
    return total, idle == 0


async def hand_over(
    connection: AsyncConnection,
    due: Sequence[DueEvent],
    done: Collection[int],
    room: int,
    *,
    alone: Collection[DueEvent],
    stuck: frozenset[int],
) -> Batch:
    """Leave up to `room` of the events that are not done to workflows of their own.

    Calls come last: what is about money that came must not wait behind those that nobody can pay.
    Less than no `room`: so many wait already. All are due again later, in case that nobody settles
    them. Those that were set `alone` are that much later, for they cost a batch more than others.
    People are told of what nobody can read, for no process can show it, and of what nobody can
    write. What is `stuck` is done with, and cannot be marked so.
    """
    left = sorted(
        (one for one in due if one.event_id not in done and one.event_id not in stuck),
        key=lambda event: isinstance(event.facts, EndedCall),
    )
    settled = len(due) - len(left)
    handed_over, postponed = tuple(left[: max(room, 0)]), left[max(room, 0) :]
    stuck |= await _postpone(connection, handed_over, HANDED_OVER_GRACE_SECONDS)
    for event in handed_over:
        if event.facts is None:
            await alerts.tell(connection, unreadable(event.key))
    set_aside = [one for one in handed_over if one in alone or one.facts is None]
    stuck |= await _postpone(connection, set_aside, SET_ASIDE_GRACE_SECONDS)
    stuck |= await _take_turns(connection, postponed, before=max(-room, 0))
    for event in due:
        if event.event_id in stuck:
            await alerts.tell(connection, unwritable(event.key))
    return Batch(len(due), settled, handed_over, len(postponed), stuck=stuck)


async def _take_turns(
    connection: AsyncConnection, postponed: Sequence[DueEvent], before: int
) -> frozenset[int]:
    """Have these events due by portions, one after another, behind as many as wait `before` them.

    If all were due at once, they would be taken each time, and most of them for nothing. Return
    those that nobody can write.
    """
    stuck = frozenset[int]()
    by_turn = groupby(enumerate(postponed, before), lambda one: one[0] // MOST_EXCEPTIONS)
    for turn, portion in by_turn:
        seconds = POSTPONED_SECONDS * (turn + 1)
        stuck |= await _postpone(connection, [event for _, event in portion], seconds)
    return stuck


async def _postpone(
    connection: AsyncConnection, events: Sequence[DueEvent], seconds: float
) -> frozenset[int]:
    """Have these events due later; return those that nobody can write."""
    return await write_apart(
        connection, ids_of(events), partial(inbox.postpone, connection, seconds=seconds)
    )


def has_more(total: Batch) -> bool:
    """Return whether more may be left to hand over, as soon as the next portion is due."""
    return total.postponed > 0 or len(total.handed_over) >= MOST_EXCEPTIONS


def ids_of(due: Sequence[DueEvent]) -> list[int]:
    """Return the numbers of events."""
    return [event.event_id for event in due]


def _is_late(total: Batch, began: float) -> bool:
    return bool(total.short) and time.monotonic() - began > TOLD_WITHIN_SECONDS
