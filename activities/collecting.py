"""Charge what waits for an organisation, calls and messages alike, oldest first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.postings import books
from billing.call import CallBill, CallState, Collected, EndedCall
from billing.ledger import tally
from billing.message import Message, MessageBill, MessageState
from store import calls, messages

# How many waiting charges are collected in one transaction.
WAITING_BATCH = 200
_UNKNOWN = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call or message, when it ended or was sent, and what it waits for."""

    subject: EndedCall | Message
    since: datetime
    state: CallState | MessageState


class Collecting:
    """What happens when money arrives, or when an assistant or a sender has found its owner."""

    def __init__(self, engine: AsyncEngine, *, reverse_undelivered: bool) -> None:
        self._engine = engine
        self._reverse_undelivered = reverse_undelivered

    @activity.defn
    async def collect(self, org_id: str) -> Collected:
        """Charge a batch of what waits for an organisation, oldest first.

        Something older that the wallet cannot pay does not hold up what is younger and that it can.
        """
        call_ids, sids, is_short = list[str](), list[str](), False
        async with books(self._engine) as connection:
            queue = await _queue(connection, org_id)
            charged = await self._charge(connection, queue)
            for bill, before in charged:
                is_short = is_short or bill.is_short
                if bill.state is not before:
                    changed = call_ids if isinstance(bill, CallBill) else sids
                    changed.append(bill.call_id if isinstance(bill, CallBill) else bill.sid)
        more = len(queue) == WAITING_BATCH and bool(call_ids or sids)
        postings = tally(bill.posting for bill, _ in charged)
        return Collected(tuple(call_ids), more, is_short, tuple(sids), postings)

    async def _charge(
        self, connection: AsyncConnection, queue: Iterable[_Waiting]
    ) -> list[tuple[CallBill | MessageBill, CallState | MessageState]]:
        """Charge in order: one set for each stretch of calls, and of messages."""
        charged: list[tuple[CallBill | MessageBill, CallState | MessageState]] = []
        for _, stretch in groupby(queue, key=lambda one: type(one.subject)):
            waited = list(stretch)
            bills = await self._charge_alike(connection, [one.subject for one in waited])
            charged += zip(bills, (one.state for one in waited), strict=True)
        return charged

    async def _charge_alike(
        self, connection: AsyncConnection, subjects: Sequence[EndedCall | Message]
    ) -> Sequence[CallBill | MessageBill]:
        sids = [one.sid for one in subjects if isinstance(one, Message)]
        if not sids:
            ended = [one for one in subjects if isinstance(one, EndedCall)]
            return await calls.charge(connection, ended)
        return await messages.settle(
            connection, sids, reverse_undelivered=self._reverse_undelivered
        )


async def _queue(connection: AsyncConnection, org_id: str) -> list[_Waiting]:
    """Read what waits. Messages are locked first: everybody locks them before wallets."""
    sent = await messages.waiting(connection, org_id, WAITING_BATCH)
    ended = await calls.waiting(connection, org_id, WAITING_BATCH)
    queue = [
        *(_Waiting(one.call, one.call.ended_at or _UNKNOWN, one.state) for one in ended.values()),
        *(_Waiting(one, _sent_at(one), one.state) for one in sent.values()),
    ]
    return sorted(queue, key=lambda one: one.since)[:WAITING_BATCH]


def _sent_at(message: Message) -> datetime:
    return message.facts.sent_at or _UNKNOWN if message.facts else _UNKNOWN
