"""Settle payments in PostgreSQL: post what is due and not posted yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.ledger.postings import books
from billing.alerts.payments import difference_alert, ignored_alert
from billing.inbox.webhook_event import Source
from billing.ledger.entry import Entry, Outcome, Posting, payment_credit_key
from billing.ledger.wallet import Wallet
from billing.payments.difference import differences
from billing.payments.payment import (
    RECHARGE,
    Payment,
    Settlement,
    as_asked_for,
    dispute_mismatch,
    due_entries,
    is_ours,
    mismatch,
    owner_of,
)
from billing.platform_rules import PlatformRules, UntypedPayments
from store.alerts import alerts
from store.inbox import inbox
from store.ledger import ledger, wallets
from store.payments import customers, disputes, payments, saved_cards
from store.recharges import recharge_settings, recharges


@dataclass(frozen=True, slots=True)
class FetchedPayment:
    """A payment as Stripe has it, and the events that were known before it was fetched."""

    payment: Payment
    event_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscardedPayment:
    """A person's decision to leave a payment as it is: who, and why.

    `event_keys` are the events that are given up with it.
    """

    payment_id: str
    note: str
    event_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LedEvent:
    """An event that named another object of Stripe's, and the payment that this is of."""

    event_key: str
    payment_id: str


class PaymentActivities:
    """Activities that settle payments, or give one up."""

    def __init__(self, engine: AsyncEngine, rules: PlatformRules) -> None:
        self._engine = engine
        self._rules = rules

    @activity.defn
    async def settle_payment(self, fetched: FetchedPayment) -> Settlement:
        """Post the entries that the payment calls for, and mark its events as handled."""
        async with books(self._engine) as connection:
            await inbox.handled_by_key(connection, Source.STRIPE, fetched.event_keys)
            return await _settle(connection, fetched.payment, self._rules.untyped_payments)

    @activity.defn
    async def discard_payment(self, decision: DiscardedPayment) -> None:
        """Record that a person gave the payment up: unless it is credited already, it never is."""
        async with self._engine.begin() as connection:
            await inbox.handled_by_key(connection, Source.STRIPE, decision.event_keys)
            await payments.lock(connection, decision.payment_id)
            await payments.discard(connection, decision.payment_id, decision.note)

    @activity.defn
    async def take_over(self, event_keys: tuple[str, ...]) -> None:
        """Mark events as handled whose effect is in a workflow that waits.

        Otherwise the drain would wake that workflow every minute, for ever, and undo a discard.
        """
        async with self._engine.begin() as connection:
            await inbox.handled_by_key(connection, Source.STRIPE, event_keys)

    @activity.defn
    async def note_payment(self, led: LedEvent) -> None:
        """Write down which payment an event is about, so that it is found, and drained, by it."""
        async with self._engine.begin() as connection:
            await inbox.leads_to(connection, led.event_key, led.payment_id)


async def _settle(
    connection: AsyncConnection, payment: Payment, setting: UntypedPayments
) -> Settlement:
    """Look at what is recorded of the payment first, and at what Stripe says of it second.

    With the payment locked its credit cannot appear, nor be given up, after it was read. Only then
    it is known whose wallet is to be locked.
    """
    await payments.lock(connection, payment.payment_id)
    credit = await ledger.find(connection, payment_credit_key(payment.payment_id))
    said, payment = payment, await as_recorded(connection, payment, credit)
    owner = owner_of(payment, credit) or ""
    wallet = (await wallets.lock(connection, [owner])).get(owner)
    untyped = payment.type is None and await payments.untyped_are_ours(connection, setting)
    if not is_ours(payment, wallet, credit, untyped_are_ours=untyped):
        return await _ignore(connection, payment, wallet)
    if credit is None and await payments.discarded(connection, [payment.payment_id]):
        return Settlement(payment, org_id=payment.owner, given_up=True)
    if credit is None and payment.status != "succeeded":
        return Settlement(payment, org_id=payment.owner)
    customer_id = await customers.payer_of(connection, owner, payment.customer_id)
    problem = mismatch(payment, wallet, customer_id, credit)
    if problem is not None or wallet is None:
        return Settlement(payment, org_id=owner or None, mismatch=problem, credit=credit)
    postings = await ledger.post_locked(
        connection, {owner: wallet}, due_entries(payment, wallet, credit)
    )
    await _note_for_recharges(connection, payment, owner, postings, customer_id)
    credited = credit if said == payment else postings[0].entry
    return Settlement(
        payment,
        org_id=owner,
        postings=tuple(postings),
        mismatch=dispute_mismatch(payment, wallet),
        recharges=wallet.recharge_below_minor is not None,
        alerted=credited is not None
        and await _tell_people(connection, said, credited, customer_id),
        credit=credit,
        saves_card=await _is_to_be_default(connection, payment, owner),
    )


async def as_recorded(
    connection: AsyncConnection, payment: Payment, credit: Entry | None
) -> Payment:
    """Return the payment as it was asked for, if that was recorded and it is not credited yet."""
    if credit is not None:
        return payment
    asked = await recharges.asked_for(
        connection, payment.payment_id, payment.attempt_id, payment.customer_id
    )
    return as_asked_for(payment, asked)


async def _ignore(
    connection: AsyncConnection, payment: Payment, wallet: Wallet | None
) -> Settlement:
    """Leave a payment alone; store an alert, once, if it names somebody of ours and was made."""
    org_id = wallet.org_id if wallet else await _whose_customer(connection, payment)
    alerted = False
    if org_id is not None and payment.status == "succeeded":
        alerted = await alerts.tell(connection, ignored_alert(payment, org_id))
    return Settlement(payment, org_id=org_id, ignored=True, alerted=alerted)


async def _whose_customer(connection: AsyncConnection, payment: Payment) -> str | None:
    if payment.customer_id is None:
        return None
    found = await customers.organizations_of(connection, [payment.customer_id])
    return found.get(payment.customer_id)


async def _tell_people(
    connection: AsyncConnection, payment: Payment, credit: Entry, customer_id: str | None
) -> bool:
    """Store an alert if Stripe says something else by now than what was credited."""
    found = differences(payment, credit, customer_id)
    if not found:
        return False
    return await alerts.tell(connection, difference_alert(payment, credit, found))


async def _note_for_recharges(
    connection: AsyncConnection,
    payment: Payment,
    org_id: str,
    postings: Sequence[Posting],
    customer_id: str | None,
) -> None:
    """Keep which disputes are open and which card was saved, and lift a suspension after a top-up.

    Only the first posting of a top-up does the latter two. Looking at the payment again must not
    forgive declines that came later, nor bring back a card that has been replaced.
    """
    for dispute in payment.disputes:
        await disputes.note(
            connection, org_id, payment.payment_id, dispute.dispute_id, is_open=dispute.is_open
        )
    credit = payment_credit_key(payment.payment_id)
    is_new = any(
        one.outcome is Outcome.APPLIED and one.entry is not None and one.entry.key == credit
        for one in postings
    )
    if is_new and payment.type != RECHARGE:
        await recharge_settings.lift(connection, org_id)
    method_id, payer = payment.saved_method_id, payment.customer_id
    if is_new and method_id is not None and payer is not None and payer == customer_id:
        await saved_cards.save(connection, org_id, payer, method_id, payment.created_at)


async def _is_to_be_default(connection: AsyncConnection, payment: Payment, org_id: str) -> bool:
    """Return whether Stripe is yet to be told of the card that this payment has saved."""
    if payment.saved_method_id is None:
        return False
    kept = await saved_cards.of(connection, org_id)
    return kept is not None and kept.wanted == payment.saved_method_id
