"""Payments that are edited between charge, refund and dispute, and what a test remembers of them.

The memory is plain Python: whose each payment was when it was credited, what came, and what of that
went back by what was heard of it.
"""

import random
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from store.payments import customers
from tests.support.parked_workflows import ended
from tests.support.stand_ins import StripeStandIn
from tests.workflows.test_settle_payment import hear, hint_about

# By its key: of which organisation an entry is, and how it changes their balance.
Booked = dict[str, tuple[str, int]]


@dataclass
class Paid:
    """A payment: whom its metadata name, and of whom it is once it is credited.

    `moved` is what has gone back of it at Stripe, and come again, by the key of the entry that is
    due; `heard` are the keys of which somebody has heard. `disputes` says which are open at Stripe,
    `known_disputes` which are by what was heard.
    """

    payment_id: str
    minor: int
    named: str
    owner: str | None = None
    moved: dict[str, int] = field(default_factory=dict)
    heard: tuple[str, ...] = ()
    pending: list[str] = field(default_factory=list)
    disputes: dict[str, bool] = field(default_factory=dict)
    known_disputes: dict[str, bool] = field(default_factory=dict)

    @property
    def left(self) -> int:
        return self.minor + sum(self.moved.values())

    def is_looked_at(self) -> None:
        """Credit it, and book what has gone back of it."""
        self.owner = self.owner or self.named
        self.heard = tuple(self.moved)
        self.known_disputes = dict(self.disputes)

    def booked(self) -> Booked:
        if self.owner is None:
            return {}
        came = {f"payment:{self.payment_id}:credit": (self.owner, self.minor)}
        return came | {key: (self.owner, self.moved[key]) for key in self.heard}


@dataclass
class EditedPayments:
    """The payments of some organisations, as they are at Stripe."""

    engine: AsyncEngine
    worker: Client
    stripe: StripeStandIn
    chance: random.Random
    orgs: list[str]
    paid: list[Paid] = field(default_factory=list)

    def booked(self) -> Booked:
        """Every entry that there must be, and no other may."""
        return {key: entry for one in self.paid for key, entry in one.booked().items()}

    def open_disputes(self) -> dict[str, tuple[str, bool]]:
        return {
            dispute: (one.owner, is_open)
            for one in self.paid
            if one.owner is not None
            for dispute, is_open in one.known_disputes.items()
        }

    async def a_payment_is_made(self) -> None:
        made = await self.pay(self.chance.choice(self.orgs), self.chance.choice([50, 300, 1000]))
        await self._perhaps_heard(made)

    async def pay(self, org_id: str, minor: int) -> Paid:
        one = Paid(await self.stripe.payment(org_id, minor), minor, org_id)
        self.paid.append(one)
        return one

    async def heard(self, one: Paid) -> None:
        settlement = await ended(await hear(self.worker, hint_about(one.payment_id)))
        one.is_looked_at()
        assert settlement is not None
        assert settlement.org_id == one.owner

    async def a_payment_is_heard_of_again(self) -> None:
        if self.paid:
            await self.heard(self.chance.choice(self.paid))

    async def metadata_are_edited(self) -> None:
        """Until it is credited, they say whose it is. After that they may say anything."""
        if not self.paid:
            return
        one = self.chance.choice(self.paid)
        if one.owner is None:
            one.named = self.chance.choice(self.orgs)
            await self.stripe.edit(one.payment_id, org_id=one.named)
            return
        edits: dict[str, list[str]] = {
            "org_id": [*self.orgs, "nobody", ""],
            "type": ["wallet_topup", "wallet_auto_recharge", "subscription", ""],
            "amount_minor": ["7", str(one.minor), ""],
        }
        name = self.chance.choice(list(edits))
        await self.stripe.edit(one.payment_id, **{name: self.chance.choice(edits[name])})
        await self._perhaps_heard(one)

    async def a_customer_is_edited(self) -> None:
        """At Stripe that of a payment which is credited, and in our row that of an organisation."""
        customer = await self.stripe.customer()
        credited = [one for one in self.paid if one.owner is not None]
        if credited and self.chance.random() < 0.5:
            await self.stripe.edit(self.chance.choice(credited).payment_id, customer=customer)
        async with self.engine.begin() as connection:
            await customers.remember(connection, self.chance.choice(self.orgs), customer)

    async def money_goes_back(self) -> None:
        """Refund or dispute something of what is left of a payment."""
        if not (some := [one for one in self.paid if one.left > 10]):
            return
        one = self.chance.choice(some)
        minor = self.chance.randint(1, one.left)
        if one.disputes or self.chance.random() < 0.6:
            await self._refund(one, amount=minor)
        else:
            how = {"status": "needs_response", "amount": minor}
            dispute = await self.stripe.dispute(one.payment_id, **how)
            one.moved[f"dispute:{dispute}"], one.disputes[dispute] = -minor, True
        await self._perhaps_heard(one)

    async def _refund(self, one: Paid, **how: Any) -> None:
        status = self.chance.choice(["succeeded", "pending"])
        refund = await self.stripe.refund(one.payment_id, status=status, **how)
        one.moved[f"refund:{refund}"] = -int(how["amount"])
        if status == "pending":
            one.pending.append(refund)

    async def what_went_back_ends(self) -> None:
        """Let a refund that is pending fail, or a dispute be won or lost."""
        ends = [(one, refund) for one in self.paid for refund in one.pending]
        ends += [(one, dispute) for one in self.paid for dispute, is_open in one.disputes.items()
                 if is_open]  # fmt: skip
        if not ends:
            return
        one, what = self.chance.choice(ends)
        if what in one.pending:
            one.pending.remove(what)
            await self.stripe.refund_becomes(what, "failed")
            key, comes_again = f"refund:{what}", True
        else:
            comes_again = self.chance.random() < 0.5
            await self.stripe.dispute_becomes(what, "won" if comes_again else "lost")
            key, one.disputes[what] = f"dispute:{what}", False
        if comes_again:
            one.moved[f"{key}:reversal"] = -one.moved[key]
        await self._perhaps_heard(one)

    async def _perhaps_heard(self, one: Paid) -> None:
        """Lose some webhooks."""
        if self.chance.random() < 0.6:
            await self.heard(one)

    def are_reconciled(self, org_id: str | None) -> None:
        """Remember that a run has looked: for one organisation at what is recorded as its own."""
        for one in self.paid:
            if org_id in (None, one.owner or one.named):
                one.is_looked_at()
