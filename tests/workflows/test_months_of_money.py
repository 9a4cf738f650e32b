"""Months of top-ups, recharges, declines, refunds and disputes, the books checked after each."""

import random
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities.payments.stripe import read_payment
from billing.calls.call import CallState
from billing.ledger.entry import EntryKind, wallet_account
from billing.ledger.wallet import Wallet
from billing.payments.payment import due_entries
from store.calls import call_records
from store.ledger import audit, ledger, wallets
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, ended_call
from tests.support.parked_workflows import attributes, start_bill
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    attempts_of,
    card_becomes,
    handle_of,
    payments,
    save_card,
    settle,
    top_up,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from wiring import Clients

DAY = timedelta(days=1)
# How many days, how often there are calls, and the dice with which every kind of entry happens.
FULL = (60, 6, 20261122)
SMALL = (21, 4, 8)
OPENING_MINOR = 600
POOR, GOOD = "pm_card_chargeDeclinedInsufficientFunds", "pm_card_visa"


@dataclass
class Tenant:
    """What has happened to one organisation so far."""

    world: World
    stripe: StripeStandIn
    clients: Clients
    payer: Payer
    assistant: str
    dice: random.Random
    call_ids: list[str] = field(default_factory=list)
    by_hand: list[str] = field(default_factory=list)
    refunded: set[str] = field(default_factory=set)
    disputes: dict[str, str] = field(default_factory=dict)
    due: dict[str, list[str]] = field(default_factory=dict)

    async def calls(self) -> None:
        """Some calls end."""
        lasted = self.dice.choices((30, 60, 300, 1800), k=self.dice.randint(1, 4))
        ended = [ended_call(self.assistant, seconds) for seconds in lasted]
        self.call_ids += [call.call_id for call in ended]
        handles = [await start_bill(self.world.temporal, call) for call in ended]
        for handle in handles:
            await eventually(partial(is_seen, handle))

    async def pays_by_hand(self) -> None:
        paid = self.dice.choice((2500, 5000))
        self.by_hand.append(await top_up(self.world.temporal, self.stripe, self.payer, paid))

    async def is_refunded(self) -> None:
        """Somebody refunds a part of a payment in Stripe's dashboard; some refunds fail."""
        whole = [one for one in await self._paid() if one not in self.refunded | set(self.disputes)]
        if whole:
            payment_id = self.dice.choice(whole)
            self.refunded.add(payment_id)
            refund = await self.stripe.refund(payment_id, amount=700, status="pending")
            await self._changes(payment_id)
            ends = self.dice.choice(("succeeded", "failed"))
            await self.stripe.refund_becomes(refund, ends)
            await self._changes(payment_id)

    async def disputes_or_ends_one(self) -> None:
        """A payer's bank takes money back; later it is won or lost."""
        if self.disputes:
            payment_id, dispute = self.disputes.popitem()
            await self.stripe.dispute_becomes(dispute, self.dice.choice(("won", "lost")))
            self.refunded.add(payment_id)
            await self._changes(payment_id)
            return
        whole = [one for one in await self._paid() if one not in self.refunded]
        if whole:
            payment_id = self.dice.choice(whole)
            self.disputes[payment_id] = await self.stripe.dispute(payment_id)
            await self._changes(payment_id)

    async def card_turns(self) -> None:
        """The card is declined from now on, or there is a new one."""
        if self.dice.random() < 0.5:
            await card_becomes(self.stripe, self.payer.card_id, POOR)
        else:
            card_id = await save_card(self.stripe, self.payer.customer_id, GOOD)
            self.payer = Payer(self.payer.org_id, self.payer.customer_id, card_id)

    async def _paid(self) -> list[str]:
        """Payments that succeeded, by hand and by the saved card."""
        charged = await payments(self.stripe, self.payer)
        return [*self.by_hand, *(one["id"] for one in charged if one["status"] == "succeeded")]

    async def a_day_passes(self) -> None:
        """Let a recharge that waits wait a day."""
        if await self._recharge_stands() == "parked":
            await self.world.let_pass(handle_of(self.world.temporal, self.payer), DAY)

    async def settles_down(self) -> None:
        async def is_calm() -> bool:
            uncredited = [
                one
                for one in await attempts_of(self.world.engine, self.payer)
                if one.state == "succeeded" and not one.is_credited
            ]
            return not uncredited and await self._recharge_stands() in ("parked", "over")

        await eventually(is_calm)

    async def _recharge_stands(self) -> str:
        handle = handle_of(self.world.temporal, self.payer)
        try:
            status = (await handle.describe()).status
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return "over"
        if status is not WorkflowExecutionStatus.RUNNING:
            return "over"
        return str((await attributes(handle))[0])

    async def has_books_that_agree(self) -> bool:
        """Every entry has its reason at Stripe or is a call, and every reason its entry.

        A recharge that was woken shows that it is parked until it has looked: it may pay meanwhile.
        """
        async with self.world.engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            wallet = await wallets.wallet_of(connection, self.payer.org_id)
            entries = await ledger.page(connection, self.payer.org_id, None, 10_000)
            states = {
                one: (await call_records.read(connection, one)).state for one in self.call_ids
            }
        due = [
            key for payment_id in await self._paid() for key in await self._due(payment_id, wallet)
        ]
        settled = [f"call:{one}" for one, state in states.items() if state is CallState.SETTLED]
        opening = [one for one in entries if one.key.startswith("credit_")]
        keys = {one.key for one in entries} - {one.key for one in opening}
        if keys != {*due, *settled}:
            return False
        account = wallet_account(self.payer.org_id)
        assert wallet.balance_minor == sum(
            one.amount.amount_minor * (1 if one.credit_account == account else -1)
            for one in entries
        )
        for one in entries:
            if one.kind is EntryKind.CALL:
                assert one.balance_after.amount_minor >= -wallet.debt_limit_minor
        return True

    async def _due(self, payment_id: str, wallet: Wallet) -> list[str]:
        """The entries that a payment calls for, as Stripe has it since it was last changed."""
        if payment_id not in self.due:
            payment = await read_payment(self.clients.stripe, payment_id)
            self.due[payment_id] = [transfer.key for transfer in due_entries(payment, wallet)]
        return self.due[payment_id]

    async def _changes(self, payment_id: str) -> None:
        """Have it settled, and read anew."""
        self.due.pop(payment_id, None)
        await settle(self.world.temporal, payment_id)

    async def has_one_payment_an_attempt(self) -> None:
        attempts = await attempts_of(self.world.engine, self.payer)
        made = [one["metadata"]["attempt_id"] for one in await payments(self.stripe, self.payer)]
        assert sorted(made) == sorted(one.attempt_id for one in attempts)


async def is_seen(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a call is settled or waits."""
    return (await attributes(handle))[0] in ("settled", "parked")


async def test_months_of_money_leave_books_that_agree_after_every_event(
    world: World, stripe: StripeStandIn, clients: Clients, story_is_full: bool
) -> None:
    """The small story is of three weeks in which more happens."""
    payer = await a_payer(world.engine, stripe, OPENING_MINOR)
    assistant = await an_assistant(world.engine, payer.org_id)
    days, calls_a_day, seed = FULL if story_is_full else SMALL
    dice = random.Random(seed)
    tenant = Tenant(world, stripe, clients, payer, assistant, dice)
    events = [
        *[tenant.calls] * calls_a_day,
        tenant.pays_by_hand,
        tenant.is_refunded,
        tenant.disputes_or_ends_one,
        tenant.card_turns,
    ]
    for _ in range(days):
        await dice.choice(events)()
        await tenant.settles_down()
        await eventually(tenant.has_books_that_agree)
        await tenant.a_day_passes()
    await tenant.has_one_payment_an_attempt()
    async with world.engine.connect() as connection:
        entries = await ledger.page(connection, payer.org_id, None, 10_000)
        assert await audit.of_organizations(connection, [payer.org_id]) == []
    kinds = {one.kind for one in entries}
    assert kinds >= {
        EntryKind.CALL, EntryKind.TOPUP, EntryKind.REFUND, EntryKind.REFUND_REVERSAL,
        EntryKind.DISPUTE,
    }  # fmt: skip
    states = {one.state.value for one in await attempts_of(world.engine, tenant.payer)}
    assert states >= {"succeeded", "declined"}
