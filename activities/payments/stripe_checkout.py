"""Checkout sessions at Stripe: open one, and see how far it is."""

from dataclasses import dataclass
from functools import partial

from stripe import PaymentIntent, RequestOptions, StripeClient
from stripe.checkout import Session
from stripe.params.checkout import SessionCreateParams
from temporalio import activity

from activities.payments.stripe_answers import LARGEST_PAGE, asking_stripe, id_of, moment
from activities.payments.stripe_keys import create_once
from billing.ledger.money import Currency, Money
from billing.payments.checkout import CheckoutSession, CheckoutStatus, NewCheckout

# The statuses of a PaymentIntent that will not be paid: a bank debit's after
# `async_payment_failed`.
_UNPAID_FOR_GOOD = frozenset({"requires_payment_method", "canceled"})


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """A session to be opened by the workflow `checkout_id`, under an idempotency key of its own."""

    checkout: NewCheckout
    customer_id: str
    checkout_id: str
    key: str


class StripeCheckout:
    """Activities about sessions in payment mode, through a client that does not retry."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    @activity.defn
    async def open_session(self, order: SessionOrder) -> CheckoutSession:
        """Open a session; the same order again gives the same one. Every failure is a fault."""
        with asking_stripe():
            session = await create_once(
                order.key, partial(self._create, _params(order)), partial(self._find, order)
            )
        return session_from(session)

    @activity.defn
    async def read_session(self, session_id: str) -> CheckoutSession:
        """Read how far a session is. Every failure is a fault."""
        with asking_stripe():
            return session_from(
                await self._client.v1.checkout.sessions.retrieve_async(
                    session_id, {"expand": ["payment_intent"]}
                )
            )

    async def _create(self, params: SessionCreateParams, options: RequestOptions) -> Session:
        return await self._client.v1.checkout.sessions.create_async(params, options)

    async def _find(self, order: SessionOrder) -> Session | None:
        """Look among the customer's open sessions for one of this workflow's."""
        listed = await self._client.v1.checkout.sessions.list_async(
            {"customer": order.customer_id, "status": "open", "limit": LARGEST_PAGE}
        )
        async for session in listed.auto_paging_iter():
            if session.metadata and session.metadata.to_dict().get("checkout") == order.checkout_id:
                return session
        return None


def session_from(session: Session) -> CheckoutSession:
    """Return the session that Stripe's object describes. Its PaymentIntent should be expanded."""
    intent = session.payment_intent
    return CheckoutSession(
        session_id=session.id,
        url=session.url,
        expires_at=moment(session.expires_at),
        amount=Money(session.amount_total or 0, Currency(session.currency or "")),
        status=_status(session),
        payment_id=id_of(intent),
    )


def _status(session: Session) -> CheckoutStatus:
    """Return how far a session is. A completed one is not paid yet if the bank takes days.

    When such a payment fails, `Session.payment_status` stays `unpaid` (stripe 16.1). Only the
    status of the payment says that it failed.
    """
    if session.status != "complete":
        return CheckoutStatus(session.status or CheckoutStatus.OPEN)
    if session.payment_status != "unpaid":
        return CheckoutStatus.PAID
    intent = session.payment_intent
    if isinstance(intent, PaymentIntent) and intent.status in _UNPAID_FOR_GOOD:
        return CheckoutStatus.FAILED
    return CheckoutStatus.PROCESSING


def _params(order: SessionOrder) -> SessionCreateParams:
    """Return the request. The payment gets our metadata too, so that it says itself what it is."""
    checkout = order.checkout
    ours = {
        "type": "wallet_topup",
        "org_id": checkout.org_id,
        "amount_minor": str(checkout.amount.amount_minor),
    }
    params: SessionCreateParams = {
        "mode": "payment",
        "customer": order.customer_id,
        "client_reference_id": checkout.org_id,
        "success_url": checkout.success_url,
        "cancel_url": checkout.cancel_url,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": checkout.amount.currency,
                    "unit_amount": checkout.amount.amount_minor,
                    "product_data": {"name": "Wallet top-up"},
                },
            }
        ],
        "metadata": ours | {"checkout": order.checkout_id},
        "payment_intent_data": {"metadata": ours},
    }
    if checkout.save_card:
        params["payment_intent_data"]["setup_future_usage"] = "off_session"
    return params
