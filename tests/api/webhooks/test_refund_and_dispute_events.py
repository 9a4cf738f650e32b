"""The events of refunds and disputes, over HTTP, in any order, twice, with gaps: one ledger."""

import asyncio
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from sqlalchemy import func, select

from store.schema import webhook_events
from tests.support.answers import accepted, eventually
from tests.support.api_server import Api
from tests.support.factories import an_organization, balance_of, entries_of
from tests.support.signed_webhooks import signed_by_stripe
from tests.support.stand_ins import StripeStandIn

Event = dict[str, Any]
Line = tuple[str, int, str | None]

PAID, REFUNDED, DISPUTED = 2500, 900, 1600
LOST: frozenset[Line] = frozenset(
    {("topup", PAID, None), ("refund", -REFUNDED, None), ("dispute", -DISPUTED, None)}
)
LEDGERS = {"lost": LOST, "won": LOST | {("dispute_reversal", DISPUTED, "dispute")}}
# One for each step: in every permutation, and each twice, that is eight deliveries a payment.
TELLING = (
    "payment_intent.succeeded",
    "refund.created",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.closed",
)


@dataclass
class Disputed:
    """A payment of its own organisation: refunded in part, disputed, and won or lost."""

    stripe: StripeStandIn
    ending: str
    org_id: str
    payment_id: str = ""
    dispute_id: str = ""

    async def is_paid(self) -> None:
        self.payment_id = await self.stripe.payment(self.org_id, PAID)

    async def is_refunded(self) -> None:
        refund = await self.stripe.refund(self.payment_id, amount=REFUNDED, status="pending")
        await self.stripe.refund_becomes(refund, "succeeded")

    async def is_disputed(self) -> None:
        self.dispute_id = await self.stripe.dispute(self.payment_id, amount=DISPUTED)

    async def is_ended(self) -> None:
        await self.stripe.dispute_becomes(self.dispute_id, self.ending)


STEPS = (Disputed.is_paid, Disputed.is_refunded, Disputed.is_disputed, Disputed.is_ended)


async def payments_of(api: Api, stripe: StripeStandIn, endings: Iterable[str]) -> list[Disputed]:
    """Wallets that may not go below zero, which is no concern of refunds and disputes."""
    return [
        Disputed(stripe, ending, await an_organization(api.engine, debt_limit_minor=0))
        for ending in endings
    ]


async def deliver(api: Api, events: Iterable[Event]) -> None:
    """Send them one after another, as Stripe made them."""
    for event in events:
        webhook = signed_by_stripe(json.dumps(event).encode(), event["id"])
        assert accepted(await api.send(webhook)) in ("accepted", "duplicate", "ignored")


async def nothing_waits(api: Api, payments: Sequence[Disputed]) -> None:
    subjects = [one.payment_id for one in payments]
    table = webhook_events.c
    waiting = select(func.count()).where(table.subject.in_(subjects), table.status == "waiting")

    async def none() -> bool:
        async with api.engine.connect() as connection:
            return await connection.scalar(waiting) == 0

    await eventually(none)


async def has_one_ledger(api: Api, payments: Sequence[Disputed]) -> None:
    """Whatever was seen of them: entries, what they reverse, and balances follow from the end."""
    for one in payments:
        lines = await lines_of(api, one.org_id)
        assert len(lines) == len(LEDGERS[one.ending])
        assert frozenset(lines) == LEDGERS[one.ending]
        assert await balance_of(api.engine, one.org_id) == sum(minor for _, minor, _ in lines)


async def lines_of(api: Api, org_id: str) -> list[Line]:
    """Each entry without its ids: its kind, what the wallet gained, and the kind it reverses."""
    entries = await entries_of(api.engine, org_id)
    kinds = {entry.key: str(entry.kind) for entry in entries}
    return [
        (
            kinds[entry.key],
            entry.amount.amount_minor * (-1 if entry.debit_account == f"wallet:{org_id}" else 1),
            kinds[entry.reverses] if entry.reverses else None,
        )
        for entry in entries
    ]


async def test_every_permutation_of_the_telling_events_comes_to_one_ledger(
    working_api: Api, stripe: StripeStandIn, story_is_full: bool
) -> None:
    """The small story has every third: in those, each event comes first, and each comes last."""
    orders = list(permutations(TELLING))[:: 1 if story_is_full else 3]
    payments = await payments_of(working_api, stripe, ("won", "lost") * (len(orders) // 2))
    start = await stripe.make_event()
    for step in STEPS:
        await asyncio.gather(*(step(one) for one in payments))
    told = {(about(event), event["type"]): event for event in await stripe.events_after(start)}
    in_order = [
        [told[one.payment_id, name] for name in order for _ in range(2)]
        for one, order in zip(payments, orders, strict=True)
    ]
    await asyncio.gather(*(deliver(working_api, events) for events in in_order))
    await nothing_waits(working_api, payments)
    await has_one_ledger(working_api, payments)


async def test_events_that_come_late_twice_or_never_come_to_one_ledger(
    working_api: Api, stripe: StripeStandIn, story_is_full: bool
) -> None:
    """Each event comes twice, at any time after it was made, or never; the last ones always come.

    So every state of a payment is looked at or is not, and may be looked at again much later.
    """
    chance = random.Random(20261102)
    payments = await payments_of(
        working_api, stripe, ("won", "lost") * (100 if story_is_full else 4)
    )
    last = await stripe.make_event()
    due: list[list[Event]] = [[] for _ in STEPS]
    for now, step in enumerate(STEPS):
        await asyncio.gather(*(step(one) for one in payments))
        for event in (made := await stripe.events_after(last)):
            is_lost = step is not Disputed.is_ended and chance.random() < 0.3
            for _ in range(0 if is_lost else 2):
                due[chance.randrange(now, len(STEPS))].append(event)
        last = made[-1]["id"]
        chance.shuffle(due[now])
        await asyncio.gather(*(deliver(working_api, [event]) for event in due[now]))
        await nothing_waits(working_api, payments)
    await has_one_ledger(working_api, payments)


def about(event: Event) -> str:
    """The payment that an event is about."""
    inner = event["data"]["object"]
    return str(inner.get("payment_intent") or inner["id"])
