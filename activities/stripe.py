"""Read payments from Stripe. An event only says that there is something to look at; this looks."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import stripe
from stripe import InvalidRequestError, PaymentIntent, RateLimitError, StripeClient
from stripe.checkout import Session
from temporalio import activity

from activities.retry_after import retry_after
from billing.errors import PaymentMissing
from billing.payment import Payment
from billing.returns import Dispute, Movement, Refund

# Stripe's largest.
_PAGE = 100


class StripeActivities:
    """Calls to Stripe, through a client that does not retry: Temporal does, where it is seen."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    @activity.defn
    async def fetch_payment(self, payment_id: str) -> Payment:
        """Read a payment with all that belongs to it.

        Refuses with PaymentMissing when Stripe does not know it; everything else is a fault.
        """
        try:
            return await read_payment(self._client, payment_id)
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited


async def read_payment(client: StripeClient, payment_id: str) -> Payment:
    """Read a PaymentIntent, its checkout session, and all its refunds and disputes: four calls.

    Two for one that has not succeeded, for nothing is due for it. Raises PaymentMissing when
    Stripe does not know it, and the SDK's StripeError for everything else.
    """
    intent = await read_intent(client, payment_id)
    found = await client.v1.checkout.sessions.list_async({"payment_intent": payment_id, "limit": 1})
    session = found.data[0] if found.data else None
    if intent.status != "succeeded":
        return payment_from(intent, session)
    refunds = await client.v1.refunds.list_async({"payment_intent": payment_id, "limit": _PAGE})
    disputes = await client.v1.disputes.list_async({"payment_intent": payment_id, "limit": _PAGE})
    return payment_from(
        intent,
        session,
        [refund async for refund in refunds.auto_paging_iter()],
        [dispute async for dispute in disputes.auto_paging_iter()],
    )


async def read_intent(client: StripeClient, payment_id: str) -> PaymentIntent:
    """Read a PaymentIntent alone; raises PaymentMissing when Stripe does not know it."""
    try:
        return await client.v1.payment_intents.retrieve_async(payment_id)
    except InvalidRequestError as invalid:
        if invalid.code == "resource_missing":
            raise PaymentMissing(f"Stripe has no payment {payment_id}") from invalid
        raise


def payment_from(
    intent: PaymentIntent,
    session: Session | None,
    refunds: Iterable[stripe.Refund] = (),
    disputes: Iterable[stripe.Dispute] = (),
) -> Payment:
    """Take what matters from Stripe's objects; what the session says fills the intent's gaps.

    `refunds` and `disputes` must be all of this payment's.
    """
    metadata: Mapping[str, Any] = {
        **((session and session.metadata and session.metadata.to_dict()) or {}),
        **((intent.metadata and intent.metadata.to_dict()) or {}),
    }
    return Payment(
        payment_id=intent.id,
        status=intent.status,
        currency=intent.currency,
        received_minor=intent.amount_received,
        created_at=_moment(intent.created),
        type=metadata.get("type"),
        org_id=metadata.get("org_id"),
        session_org_id=session.client_reference_id if session else None,
        expected_minor=_whole(metadata.get("amount_minor"), intent.amount),
        intended_minor=intent.amount,
        refunds=tuple(_refund(refund) for refund in refunds),
        disputes=tuple(_dispute(dispute, intent.currency) for dispute in disputes),
        customer_id=_id(intent.customer),
    )


def _id(reference: str | stripe.Customer | None) -> str | None:
    """Read the id of what Stripe may have expanded."""
    return reference.id if isinstance(reference, stripe.Customer) else reference


def _refund(refund: stripe.Refund) -> Refund:
    return Refund(
        refund_id=refund.id,
        amount_minor=refund.amount,
        created_at=_moment(refund.created),
        status=refund.status,
        is_booked=refund.balance_transaction is not None,
    )


def _dispute(dispute: stripe.Dispute, currency: str) -> Dispute:
    moves = (_movement(one, dispute, currency) for one in dispute.balance_transactions)
    return Dispute(dispute.id, tuple(move for move in moves if move.amount_minor), dispute.status)


def _movement(
    transaction: stripe.BalanceTransaction, dispute: stripe.Dispute, currency: str
) -> Movement:
    """Take its own amount, or the dispute's if Stripe keeps its balance in another currency.

    `amount` is without the fee, and negative when it left the balance (stripe 16.1,
    `BalanceTransaction.amount`).
    """
    amount_minor, moved_in = transaction.amount, transaction.currency
    if moved_in != currency:
        sign = (amount_minor > 0) - (amount_minor < 0)
        amount_minor, moved_in = sign * dispute.amount, dispute.currency
    return Movement(transaction.id, amount_minor, moved_in, _moment(transaction.created))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _whole(written: str | None, otherwise: int) -> int | None:
    """Read an amount from metadata, where everything is text; None when it is not an amount."""
    if written is None:
        return otherwise
    return int(written) if written.isascii() and written.isdigit() else None
