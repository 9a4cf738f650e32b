"""Drain the inbox: settle in batches what no workflow of its own has settled."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.inbox.batches import MOST_EXCEPTIONS, Batch, hand_over, has_more, settle_batches
from activities.inbox.isolation import settle_apart, write_apart
from activities.ledger.postings import books
from activities.temporal.isolation import apart
from billing.alerts.inbox import unwritable
from billing.calls.call import CallBill, EndedCall
from billing.inbox.webhook_event import (
    HANDED_OVER_GRACE_SECONDS,
    Drain,
    Drained,
    ObjectHint,
    PaymentHint,
)
from billing.ledger.entry import given_money, tally
from store.alerts import alerts
from store.calls import calls, calls_in_progress, waiting_calls
from store.inbox import inbox
from store.inbox.inbox import DueEvent

BATCH = 500


class InboxActivities:
    """The batch lane."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def drain(self) -> Drained:
        """Settle batches while there are any; return what needs workflows of their own."""
        total, cut_short = await settle_batches(self._batch, BATCH)
        left = [event.facts for event in total.handed_over]
        overdue = await self._overdue(MOST_EXCEPTIONS - len(left))
        return Drained(
            settled=total.settled,
            calls=(*(one for one in left if isinstance(one, EndedCall)), *overdue),
            payments=tuple(one for one in left if isinstance(one, PaymentHint)),
            objects=tuple(one for one in left if isinstance(one, ObjectHint)),
            more=has_more(total),
            short=tuple(sorted(total.short)),
            cut_short=cut_short,
            postings=total.postings,
            richer=tuple(sorted(total.richer)),
        )

    async def _overdue(self, room: int) -> list[EndedCall]:
        """Find calls whose reports are lost: their workflows ask Vapi how they ended."""
        async with self._engine.begin() as connection:

            async def forget_part(part: Sequence[str]) -> Sequence[str]:
                async with connection.begin_nested():
                    await calls_in_progress.forget(connection, part)
                return part

            async def take_part(part: Sequence[str]) -> Sequence[EndedCall]:
                async with connection.begin_nested():
                    return await calls_in_progress.take(connection, part, HANDED_OVER_GRACE_SECONDS)

            over = await calls_in_progress.done_with(connection)
            forgotten = await apart(over, forget_part, _note_of, one_is_alone=True)
            overdue = await calls_in_progress.overdue(connection, room)
            taken = await apart(overdue, take_part, _note_of, one_is_alone=True)
            for call_id in (*forgotten.alone, *taken.alone):
                await alerts.tell(connection, unwritable(_note_of(call_id)))
        return list(taken.done)

    async def _batch(self, room: int, passing_over: Collection[int]) -> Batch:
        """Settle one batch, and hand over up to `room` of what it cannot settle.

        What was found to wait, and waits for its turn to be handed over, is not asked again.
        """
        async with books(self._engine) as connection:
            due = await inbox.take_due(connection, Drain.INBOX, BATCH, passing_over)
            of_calls = [event for event in due if isinstance(event.facts, EndedCall)]
            told = [event.facts for event in due if isinstance(event.facts, EndedCall)]
            waiting = await waiting_calls.nothing_new(connection, told) if told else set[str]()
            of_calls = [event for event in of_calls if event.subject not in waiting]
            settled = await settle_apart(connection, of_calls, partial(_settle, connection))
            bills = settled.done
            alone = [one.subject for one in settled.alone]
            over = await waiting_calls.done_with(connection, alone) if alone else set[str]()
            done, stuck = await _handled(connection, due, bills, over)
            batch = await hand_over(connection, due, done, room, alone=settled.alone, stuck=stuck)
        return replace(
            batch,
            short=frozenset(bill.org_id for bill in bills if bill.is_short and bill.org_id),
            postings=tally(bill.posting for bill in bills),
            richer=given_money(bill.posting for bill in bills),
        )


async def _settle(connection: AsyncConnection, due: Sequence[DueEvent]) -> list[CallBill]:
    """Charge the calls of some events, each once."""
    ended = {one.facts.call_id: one.facts for one in due if isinstance(one.facts, EndedCall)}
    return await calls.charge(connection, list(ended.values()), activity.info().workflow_id)


async def _handled(
    connection: AsyncConnection,
    due: Sequence[DueEvent],
    bills: Sequence[CallBill],
    over: Collection[str],
) -> tuple[set[int], frozenset[int]]:
    """Mark the events of calls that are done with by now, or were `over`.

    Return their numbers, and those that nobody can write.
    """
    final = {bill.call_id for bill in bills if not bill.state.waits} | {*over}
    done = {
        event.event_id
        for event in due
        if isinstance(event.facts, EndedCall) and event.facts.call_id in final
    }
    stuck = await write_apart(connection, done, partial(inbox.handled, connection))
    return done - stuck, stuck


def _note_of(call_id: str) -> str:
    return f"the note of call {call_id}"
