"""Drain what the inbox has about messages: merged, priced and charged in batches."""

import asyncio
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.postings import books
from activities.twilio import Read, TwilioApi
from billing.errors import MessageMissing
from billing.ledger import NO_POSTINGS, tally
from billing.message import MessageBill, MessageRef, SeenMessage
from billing.webhook import HANDED_OVER_GRACE_SECONDS, OWN_LANE_GRACE_SECONDS, DrainedMessages
from store import inbox, messages
from store.inbox import DueEvent

BATCH = 200
# How many messages Twilio is asked for at once.
ASKED_AT_ONCE = 16
# Within the time in which a drain must show that it lives.
ASK_SECONDS = 10.0
# What a batch cannot settle is handed over in portions, so that the answer stays small.
MOST_EXCEPTIONS = 300
LINGER_SECONDS = 0.05
LINGER_ROUNDS = 10


class MessageLane:
    """The batch lane of messages. Twilio is asked between two transactions, in neither."""

    def __init__(self, engine: AsyncEngine, api: TwilioApi, *, reverse_undelivered: bool) -> None:
        self._engine = engine
        self._api = api
        self._reverse_undelivered = reverse_undelivered

    @activity.defn
    async def drain_messages(self) -> DrainedMessages:
        """Settle batches while there are any; returns what needs workflows of their own."""
        left: list[SeenMessage] = []
        short: set[str] = set()
        settled, idle, postings = 0, 0, NO_POSTINGS
        while idle < LINGER_ROUNDS and len(left) < MOST_EXCEPTIONS:
            due = await self._take()
            bills = await self._batch_or_nothing(due)
            left += await self._hand_over(due, bills)
            short |= {bill.org_id for bill in bills.values() if bill.is_short and bill.org_id}
            settled += len(bills)
            postings += tally(bill.posting for bill in bills.values())
            idle = 0 if due else idle + 1
            activity.heartbeat(settled)
            if len(due) < BATCH:
                await asyncio.sleep(LINGER_SECONDS)
        async with self._engine.begin() as connection:
            left += await messages.take_unwatched(connection, MOST_EXCEPTIONS)
        return DrainedMessages(settled, tuple(left), idle == 0, tuple(sorted(short)), postings)

    async def _take(self) -> Sequence[DueEvent]:
        """Take a batch for a while; if nobody is done with it by then, it is due again."""
        async with self._engine.begin() as connection:
            due = await inbox.take_due(connection, BATCH, of_messages=True)
            await inbox.postpone(connection, _ids(due), OWN_LANE_GRACE_SECONDS)
        return due

    async def _batch_or_nothing(self, due: Sequence[DueEvent]) -> Mapping[str, MessageBill]:
        """Settle a batch; one that the database refuses is left to workflows, for a row is bad."""
        try:
            return await self._batch(due)
        except (DataError, IntegrityError):
            activity.logger.exception("a batch was refused; each message gets its own workflow")
            return {}

    async def _batch(self, due: Sequence[DueEvent]) -> Mapping[str, MessageBill]:
        """Merge a batch, ask Twilio for what is not known of it, and settle it.

        A message that has a workflow of its own is left to that one. Answers by message id.
        """
        async with self._engine.begin() as connection:
            watched = await messages.watched(connection, {event.subject for event in due})
            heard = [event.message for event in due if event.message is not None]
            ours = [seen for seen in heard if seen.sid not in watched]
            await messages.observe(connection, ours)
            unknown = await messages.without_facts(connection, {seen.sid for seen in ours})
        return await self._settle(due, {seen.sid for seen in ours}, await self._ask(unknown))

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
        self, due: Sequence[DueEvent], sids: Collection[str], found: Mapping[str, Read]
    ) -> Mapping[str, MessageBill]:
        """Post what is due; the events of what waits for nothing are handled in that instant."""
        async with books(self._engine) as connection:
            await inbox.lock(connection, _ids(due))
            await messages.observe(connection, [seen for seen, _ in found.values() if seen])
            await messages.keep_facts(connection, {sid: facts for sid, (_, facts) in found.items()})
            bills = await messages.settle(
                connection,
                sorted(sids),
                reverse_undelivered=self._reverse_undelivered,
                settled_by=activity.info().workflow_id,
            )
            await messages.stop_watching(connection, [one.sid for one in bills if one.is_over])
            done = {bill.sid for bill in bills if not bill.state.waits}
            await inbox.handled(connection, _ids([one for one in due if one.subject in done]))
        return {bill.sid: bill for bill in bills}

    async def _hand_over(
        self, due: Sequence[DueEvent], bills: Mapping[str, MessageBill]
    ) -> Sequence[SeenMessage]:
        left = [one for one in due if one.subject not in bills or bills[one.subject].state.waits]
        async with self._engine.begin() as connection:
            await inbox.postpone(connection, _ids(left), HANDED_OVER_GRACE_SECONDS)
        return [event.message for event in left if event.message is not None]


def _ids(due: Sequence[DueEvent]) -> list[int]:
    return [event.event_id for event in due]
