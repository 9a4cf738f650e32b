"""Charge what waits for an organisation, calls and messages together, oldest first."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import groupby

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.inbox.isolation import settle_apart
from activities.ledger.postings import books
from billing.alerts.messages import free_alerts
from billing.calls.call import CallBill, CallState, EndedCall
from billing.collection import CollectedBatch
from billing.ledger.entry import tally
from billing.ledger.wallet import Wallet
from billing.messages.message import Message, MessageBill, MessageState
from billing.platform_rules import PlatformRules
from store import collection as store_collection
from store.alerts import alerts
from store.calls import calls, waiting_calls
from store.ledger import wallets
from store.messages import messages, waiting_messages

# How many waiting charges are collected in one transaction.
WAITING_BATCH = 200
_UNKNOWN = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A call or message that waits, when it ended or was sent, and its state, which says why."""

    subject: EndedCall | Message
    since: datetime
    state: CallState | MessageState

    @property
    def key(self) -> str:
        """Its name, for the log."""
        return _key(self.subject)


class CollectionActivities:
    """The activity for when money arrives, or when an assistant or a sender is registered."""

    def __init__(self, engine: AsyncEngine, rules: PlatformRules) -> None:
        self._engine = engine
        self._rules = rules

    @activity.defn
    async def collect(self, org_id: str) -> CollectedBatch:
        """Charge a batch of what waits for an organisation and can be paid, oldest first.

        A charge that the wallet cannot pay is not tried, and holds up none that it can. While such
        a charge waits, the wallet is short. One that fails alone is left to its own process, where
        a person sees it.
        """
        async with books(self._engine) as connection:
            wallet = await wallets.wallet_of(connection, org_id)
            queue = await _queue(connection, wallet)
            apart = await settle_apart(connection, queue, partial(self._charge, connection))
            sent = [bill for bill in apart.done if isinstance(bill, MessageBill)]
            is_short = any(bill.is_short for bill in apart.done)
            if wallet.recharge_below_minor is not None:
                is_short = is_short or await store_collection.waits(connection, org_id)
            await alerts.tell_each(connection, free_alerts(sent))
        before = {one.key: one.state for one in queue}
        changed = [bill for bill in apart.done if bill.state is not before[_key(bill)]]
        told = [*changed, *(one.subject for one in apart.alone)]
        return CollectedBatch(
            call_ids=tuple(one.call_id for one in told if isinstance(one, CallBill | EndedCall)),
            more=len(queue) == WAITING_BATCH and bool(changed),
            is_short=is_short,
            sids=tuple(one.sid for one in told if isinstance(one, MessageBill | Message)),
            postings=tally(bill.posting for bill in apart.done),
        )

    async def _charge(
        self, connection: AsyncConnection, queue: Sequence[_Waiting]
    ) -> list[CallBill | MessageBill]:
        """Charge in order: each run of calls, and each run of messages, in one set."""
        bills: list[CallBill | MessageBill] = []
        for _, stretch in groupby(queue, key=lambda one: type(one.subject)):
            bills += await self._charge_alike(connection, [one.subject for one in stretch])
        return bills

    async def _charge_alike(
        self, connection: AsyncConnection, subjects: Sequence[EndedCall | Message]
    ) -> Sequence[CallBill | MessageBill]:
        sids = [one.sid for one in subjects if isinstance(one, Message)]
        if not sids:
            ended = [one for one in subjects if isinstance(one, EndedCall)]
            return await calls.charge(connection, ended)
        return await messages.settle(
            connection, sids, reverse_undelivered=self._rules.sms_reverse_undelivered
        )


def _key(one: EndedCall | CallBill | Message | MessageBill) -> str:
    if isinstance(one, EndedCall | CallBill):
        return f"call {one.call_id}"
    return f"message {one.sid}"


async def _queue(connection: AsyncConnection, wallet: Wallet) -> list[_Waiting]:
    """Read what waits. All of it is locked here, for everybody locks it before wallets."""
    sent = await waiting_messages.chargeable(connection, wallet, WAITING_BATCH)
    ended = await waiting_calls.chargeable(connection, wallet, WAITING_BATCH)
    await calls.lock(connection, ended)
    queue = [
        *(_Waiting(one.call, one.call.ended_at or _UNKNOWN, one.state) for one in ended.values()),
        *(_Waiting(one, _sent_at(one), one.state) for one in sent.values()),
    ]
    return sorted(queue, key=lambda one: one.since)[:WAITING_BATCH]


def _sent_at(message: Message) -> datetime:
    return message.facts.sent_at or _UNKNOWN if message.facts else _UNKNOWN
