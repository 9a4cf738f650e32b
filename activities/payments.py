"""Settle payments on PostgreSQL: post what is due and not posted."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.postings import books
from billing.ledger import Outcome, Posting, payment_credit_key
from billing.payment import (
    RECHARGE,
    Payment,
    Settlement,
    dispute_mismatch,
    due_entries,
    is_ours,
    mismatch,
)
from billing.webhook import Source
from store import customers, inbox, ledger, payments, recharges, wallets


@dataclass(frozen=True, slots=True)
class FetchedPayment:
    """A payment as Stripe has it, and the events that were known before it was fetched."""

    payment: Payment
    event_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscardedPayment:
    """A person's decision to leave a payment as it is: who, and why."""

    payment_id: str
    note: str


class PaymentActivities:
    """What happens to payments in the ledger."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def settle_payment(self, fetched: FetchedPayment) -> Settlement:
        """Post the entries that the payment calls for, and mark its events as handled."""
        async with books(self._engine) as connection:
            await inbox.handled_by_key(connection, Source.STRIPE, fetched.event_keys)
            return await _settle(connection, fetched.payment)

    @activity.defn
    async def discard_payment(self, decision: DiscardedPayment) -> None:
        """Record that a person gave the payment up: it is not brought up again every night."""
        async with self._engine.begin() as connection:
            await payments.discard(connection, decision.payment_id, decision.note)

    @activity.defn
    async def take_over(self, event_keys: tuple[str, ...]) -> None:
        """Mark events as handled whose effect is in a workflow that waits.

        Otherwise the drain would wake that workflow every minute, for ever, and undo a discard.
        """
        async with self._engine.begin() as connection:
            await inbox.handled_by_key(connection, Source.STRIPE, event_keys)


async def _settle(connection: AsyncConnection, payment: Payment) -> Settlement:
    owner = payment.owner or ""
    wallet = (await wallets.lock(connection, [owner])).get(owner)
    if not is_ours(payment, wallet):
        return Settlement(payment, ignored=True)
    if payment.status != "succeeded":
        return Settlement(payment, org_id=payment.owner)
    problem = mismatch(payment, wallet, await customers.customer_of(connection, owner))
    if problem is not None or wallet is None:
        return Settlement(payment, org_id=payment.owner, mismatch=problem)
    transfers = due_entries(payment, wallet)
    postings = await ledger.post_locked(connection, {owner: wallet}, transfers)
    await _tell_recharges(connection, payment, owner, postings)
    return Settlement(
        payment,
        org_id=owner,
        postings=tuple(postings),
        mismatch=dispute_mismatch(payment, wallet),
        recharges=wallet.recharge_below_minor is not None,
    )


async def _tell_recharges(
    connection: AsyncConnection, payment: Payment, org_id: str, postings: Sequence[Posting]
) -> None:
    """Keep which disputes are open; a top-up that a customer made ends a suspension.

    Only the first time that it is posted: what happened since is not forgiven by looking again.
    """
    for dispute in payment.disputes:
        await recharges.note_dispute(
            connection, org_id, payment.payment_id, dispute.dispute_id, is_open=dispute.is_open
        )
    credit = payment_credit_key(payment.payment_id)
    is_new = any(
        one.outcome is Outcome.APPLIED and one.entry is not None and one.entry.key == credit
        for one in postings
    )
    if is_new and payment.type != RECHARGE:
        await recharges.lift(connection, org_id)
