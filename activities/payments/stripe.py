"""Read payments from Stripe. An event only says that a payment has changed; this reads how."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import stripe
from stripe import InvalidRequestError, PaymentIntent, StripeClient
from stripe.checkout import Session
from temporalio import activity

from activities.payments.stripe_answers import LARGEST_PAGE, asking_stripe, id_of, moment
from billing.errors import PaymentMissing
from billing.inbox.webhook_event import ObjectHint
from billing.payments.payment import Payment
from billing.payments.refunds_and_disputes import Dispute, Movement, Refund

# Stripe takes eight digits, and twelve in some currencies.
_MOST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class FoundPayment:
    """The payment that an object of Stripe's is of; None for one of none, as a free session.

    `opened_by` is what a session's metadata say has opened it: the workflow of a checkout.
    """

    payment_id: str | None
    opened_by: str | None = None


class StripeActivities:
    """Activities that ask Stripe, through a client that does not retry.

    Temporal retries instead, where it can be seen.
    """

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    @activity.defn
    async def fetch_payment(self, payment_id: str) -> Payment:
        """Read a payment with its checkout session, refunds and disputes.

        Raise PaymentMissing if Stripe does not know it. Everything else is a fault.
        """
        with asking_stripe():
            return await read_payment(self._client, payment_id)

    @activity.defn
    async def find_payment(self, hint: ObjectHint) -> FoundPayment:
        """Read the object that a thin event names, and return the payment that it is of.

        Raise PaymentMissing if Stripe does not know the object. Everything else is a fault.
        """
        with asking_stripe():
            found = await _read_object(self._client, hint)
        metadata = getattr(found, "metadata", None)
        is_session = hint.object_type == "checkout.session"
        return FoundPayment(
            payment_id=id_of(getattr(found, "payment_intent", None)),
            opened_by=metadata.to_dict().get("checkout") if is_session and metadata else None,
        )


async def read_payment(client: StripeClient, payment_id: str) -> Payment:
    """Read a PaymentIntent, its checkout session, and all its refunds and disputes: four calls.

    A payment that has brought nothing takes only two, for nothing is due for it. Raise
    PaymentMissing if Stripe does not know it, and the SDK's StripeError for everything else.
    """
    intent = await read_intent(client, payment_id)
    found = await client.v1.checkout.sessions.list_async({"payment_intent": payment_id, "limit": 1})
    session = found.data[0] if found.data else None
    if intent.status != "succeeded" and not intent.amount_received:
        return payment_from(intent, session)
    refunds = await client.v1.refunds.list_async(
        {"payment_intent": payment_id, "limit": LARGEST_PAGE}
    )
    disputes = await client.v1.disputes.list_async(
        {"payment_intent": payment_id, "limit": LARGEST_PAGE}
    )
    return payment_from(
        intent,
        session,
        [refund async for refund in refunds.auto_paging_iter()],
        [dispute async for dispute in disputes.auto_paging_iter()],
    )


async def _read_object(client: StripeClient, hint: ObjectHint) -> stripe.StripeObject:
    """Read what a thin event names; raise PaymentMissing if Stripe does not know it."""
    retrieve: Mapping[str, Callable[[str], Awaitable[stripe.StripeObject]]] = {
        "charge": client.v1.charges.retrieve_async,
        "checkout.session": client.v1.checkout.sessions.retrieve_async,
        "dispute": client.v1.disputes.retrieve_async,
        "refund": client.v1.refunds.retrieve_async,
    }
    with _known(f"{hint.object_type} {hint.object_id}"):
        return await retrieve[hint.object_type](hint.object_id)


async def read_intent(client: StripeClient, payment_id: str) -> PaymentIntent:
    """Read a PaymentIntent alone; raise PaymentMissing if Stripe does not know it."""
    with _known(f"payment {payment_id}"):
        return await client.v1.payment_intents.retrieve_async(payment_id)


@contextmanager
def _known(what: str) -> Iterator[None]:
    """Raise PaymentMissing where Stripe does not know what is read."""
    try:
        yield
    except InvalidRequestError as invalid:
        if invalid.code == "resource_missing":
            raise PaymentMissing(f"Stripe has no {what}") from invalid
        raise


def payment_from(
    intent: PaymentIntent,
    session: Session | None,
    refunds: Iterable[stripe.Refund] = (),
    disputes: Iterable[stripe.Dispute] = (),
) -> Payment:
    """Return the payment that Stripe's objects describe.

    Metadata that the intent lacks is taken from the session. `refunds` and `disputes` must be all
    of this payment's.
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
        created_at=moment(intent.created),
        type=metadata.get("type"),
        org_id=metadata.get("org_id"),
        session_org_id=session.client_reference_id if session else None,
        expected_minor=_whole(metadata.get("amount_minor"), intent.amount),
        intended_minor=intent.amount,
        refunds=tuple(_refund(refund) for refund in refunds),
        disputes=tuple(_dispute(dispute, intent.currency) for dispute in disputes),
        customer_id=id_of(intent.customer),
        attempt_id=metadata.get("attempt_id"),
        saved_method_id=_saved(intent),
    )


def _saved(intent: PaymentIntent) -> str | None:
    """Return the payment method that a payment has saved for later; None if it was to save none."""
    if intent.status != "succeeded" or getattr(intent, "setup_future_usage", None) is None:
        return None
    return id_of(getattr(intent, "payment_method", None))


def _refund(refund: stripe.Refund) -> Refund:
    return Refund(
        refund_id=refund.id,
        amount_minor=refund.amount,
        created_at=moment(refund.created),
        status=refund.status,
        is_booked=refund.balance_transaction is not None,
    )


def _dispute(dispute: stripe.Dispute, currency: str) -> Dispute:
    moves = (_movement(one, dispute, currency) for one in dispute.balance_transactions)
    return Dispute(dispute.id, tuple(move for move in moves if move.amount_minor), dispute.status)


def _movement(
    transaction: stripe.BalanceTransaction, dispute: stripe.Dispute, currency: str
) -> Movement:
    """Return a movement by its own amount, or by the dispute's amount.

    The latter is for a Stripe balance in another currency than the payment. `amount` is without the
    fee, and negative when it left the balance (stripe 16.1, `BalanceTransaction.amount`).
    """
    amount_minor, moved_in = transaction.amount, transaction.currency
    if moved_in != currency:
        sign = (amount_minor > 0) - (amount_minor < 0)
        amount_minor, moved_in = sign * dispute.amount, dispute.currency
    return Movement(transaction.id, amount_minor, moved_in, moment(transaction.created))


def _whole(written: str | None, otherwise: int) -> int | None:
    """Read an amount from metadata, where everything is text.

    Return `otherwise` if there is none, and None for a text that is not an amount.
    """
    if written is None:
        return otherwise
    is_amount = written.isascii() and written.isdigit() and len(written) <= _MOST_DIGITS
    return int(written) if is_amount else None
