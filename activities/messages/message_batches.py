"""Drain what the inbox has about messages: merged, priced and charged in batches."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.inbox.batches import (
    MOST_EXCEPTIONS,
    Batch,
    hand_over,
    has_more,
    ids_of,
    settle_batches,
)
from activities.inbox.isolation import settle_apart, write_apart
from activities.ledger.postings import books
from activities.messages.twilio import Read, TwilioApi
from activities.temporal.isolation import Apart, apart
from billing.alerts.inbox import unwritable
from billing.alerts.messages import free_alerts
from billing.errors import MessageMissing
from billing.inbox.webhook_event import OWN_LANE_GRACE_SECONDS, Drain, DrainedMessages
from billing.ledger.entry import given_money, tally
from billing.messages.message import MessageBill, MessageRef, SeenMessage
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.inbox import inbox
from store.inbox.inbox import DueEvent
from store.messages import messages, waiting_messages, watch

BATCH = 200
# How many messages Twilio is asked for at once.
ASKED_AT_ONCE = 16
# Within the time in which a drain must show that it lives.
ASK_SECONDS = 10.0


class MessageLane:
    """The batch lane of messages. Twilio is asked between two transactions, in neither."""

    def __init__(self, engine: AsyncEngine, api: TwilioApi, rules: PlatformRules) -> None:
        self._engine = engine
        self._api = api
        self._rules = rules

    @activity.defn
    async def drain_messages(self) -> DrainedMessages:
        """Settle batches while there are any; return what needs workflows of their own."""
        total, cut_short = await settle_batches(self._batch, BATCH)
        left = [one.facts for one in total.handed_over if isinstance(one.facts, SeenMessage)]
        left += await self._unwatched()
        return DrainedMessages(
            settled=total.settled,
            messages=tuple(left),
            more=cut_short,
            short=tuple(sorted(total.short)),
            postings=total.postings,
            postponed=has_more(total),
            richer=tuple(sorted(total.richer)),
        )

    async def _unwatched(self) -> Sequence[SeenMessage]:
        """Take messages whose end should be known by now: their workflows ask Twilio."""
        async with self._engine.begin() as connection:

            async def take_part(part: Sequence[str]) -> Sequence[SeenMessage]:
                async with connection.begin_nested():
                    return await watch.take(connection, part)

            late = await watch.unwatched(connection, MOST_EXCEPTIONS)
            taken = await apart(late, take_part, "message {}".format, one_is_alone=True)
            for sid in taken.alone:
                await alerts.tell(connection, unwritable(f"message {sid}"))
        return taken.done

    async def _batch(self, room: int, passing_over: Collection[int]) -> Batch:
        """Settle one batch, and hand over up to `room` of what it cannot settle."""
        due, stuck = await self._take(passing_over)
        if not due:
            return Batch(stuck=stuck)
        bills, alone = await self._bills(due)
        async with self._engine.begin() as connection:
            bad = [one.subject for one in alone]
            over = await waiting_messages.done_with(connection, bad) if bad else set[str]()
            done = {
                one.event_id
                for one in due
                if _is_done(bills.get(one.subject)) or (one in alone and one.subject in over)
            }
            unmarked = await write_apart(connection, done, partial(inbox.handled, connection))
            batch = await hand_over(
                connection, due, done - unmarked, room, alone=alone, stuck=unmarked
            )
        return replace(
            batch,
            stuck=batch.stuck | stuck,
            short=frozenset(one.org_id for one in bills.values() if one.is_short and one.org_id),
            postings=tally(bill.posting for bill in bills.values()),
            richer=given_money(bill.posting for bill in bills.values()),
        )

    async def _take(
        self, passing_over: Collection[int]
    ) -> tuple[Sequence[DueEvent], frozenset[int]]:
        """Take a batch for a while; if nobody is done with it by then, it is due again.

        Return it, and what nobody can write, which is left: it could be taken by two at once.
        """
        async with self._engine.begin() as connection:
            due = await inbox.take_due(connection, Drain.MESSAGES, BATCH, passing_over)
            later = partial(inbox.postpone, connection, seconds=OWN_LANE_GRACE_SECONDS)
            stuck = await write_apart(connection, ids_of(due), later)
            for event in due:
                if event.event_id in stuck:
                    await alerts.tell(connection, unwritable(event.key))
        return [event for event in due if event.event_id not in stuck], stuck

    async def _bills(
        self, due: Sequence[DueEvent]
    ) -> tuple[Mapping[str, MessageBill], Collection[DueEvent]]:
        """Merge a batch, ask Twilio for what is not known of it, and settle it.

        A message that has a workflow of its own is left to that one. What was found to wait, and
        waits for its turn to be handed over, is not asked again. Return bills by message id, and
        the events that failed alone.
        """
        seen = [event.facts for event in due if isinstance(event.facts, SeenMessage)]
        async with self._engine.begin() as connection:
            others = await watch.watched(connection, {event.subject for event in due})
            others |= await waiting_messages.nothing_new(connection, seen)
            ours = [
                event for event in due if event.facts is not None and event.subject not in others
            ]
            merged = await settle_apart(connection, ours, partial(_merge, connection))
            ours = [event for event in ours if event not in merged.alone]
            unknown = await messages.without_facts(connection, {event.subject for event in ours})
        settled = await self._settle(due, ours, await self._ask(unknown))
        by_sid = {bill.sid: bill for bill in settled.done}
        return by_sid, (*merged.alone, *settled.alone)

    async def _ask(self, refs: Sequence[MessageRef]) -> Mapping[str, Read]:
        """Ask Twilio for many; what fails is left to workflows, unless it is Twilio that is away.

        Those would all park at once, and all come back at once.
        """
        gate = asyncio.Semaphore(ASKED_AT_ONCE)

        async def ask(ref: MessageRef) -> Read:
            async with gate, asyncio.timeout(ASK_SECONDS):
                read = await self._api.read(ref)
            activity.heartbeat(ref.sid)
            return read

        answers = await asyncio.gather(*(ask(ref) for ref in refs), return_exceptions=True)
        found, faults = dict[str, Read](), list[BaseException]()
        for ref, answer in zip(refs, answers, strict=True):
            if not isinstance(answer, BaseException):
                found[ref.sid] = answer
            elif not isinstance(answer, MessageMissing):
                faults.append(answer)
        if len(faults) > ASKED_AT_ONCE and not found:
            raise faults[0]
        return found

    async def _settle(
        self, due: Sequence[DueEvent], ours: Sequence[DueEvent], found: Mapping[str, Read]
    ) -> Apart[DueEvent, MessageBill]:
        """Post what is due; the events of what waits for nothing are handled in that instant."""
        async with books(self._engine) as connection:
            await inbox.lock(connection, ids_of(due))
            settled = await settle_apart(connection, ours, partial(self._charge, connection, found))
            by_sid = {bill.sid: bill for bill in settled.done}
            done = [one for one in due if _is_done(by_sid.get(one.subject))]
            await write_apart(connection, ids_of(done), partial(inbox.handled, connection))
            await alerts.tell_each(connection, free_alerts(settled.done))
        return settled

    async def _charge(
        self, connection: AsyncConnection, found: Mapping[str, Read], part: Sequence[DueEvent]
    ) -> Sequence[MessageBill]:
        """Keep what Twilio says of some messages, and post what is due for them."""
        sids = sorted({event.subject for event in part})
        read = {sid: found[sid] for sid in sids if sid in found}
        await messages.observe(connection, [seen for seen, _ in read.values() if seen])
        await messages.keep_facts(connection, {sid: facts for sid, (_, facts) in read.items()})
        bills = await messages.settle(
            connection,
            sids,
            reverse_undelivered=self._rules.sms_reverse_undelivered,
            settled_by=activity.info().workflow_id,
        )
        await watch.stop_watching(connection, [one.sid for one in bills if one.is_over])
        return bills


async def _merge(connection: AsyncConnection, part: Sequence[DueEvent]) -> Sequence[MessageBill]:
    """Merge what some events say; nothing is billed by that."""
    heard = [event.facts for event in part if isinstance(event.facts, SeenMessage)]
    await messages.observe(connection, heard)
    return ()


def _is_done(bill: MessageBill | None) -> bool:
    return bill is not None and not bill.state.waits
