"""Checkout sessions at Stripe: open one, and see how far it is."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from stripe import PaymentIntent, RateLimitError, RequestOptions, StripeClient
from stripe.checkout import Session
from stripe.params.checkout import SessionCreateParams
from temporalio import activity

from activities.retry_after import retry_after
from activities.stripe_keys import create_once
from billing.checkout import CheckoutSession, CheckoutStatus, NewCheckout
from billing.money import Currency, Money

_PAGE = 100
# A PaymentIntent that will not be paid: of a bank debit, after `async_payment_failed`.
_UNPAID_FOR_GOOD = frozenset({"requires_payment_method", "canceled"})


@dataclass(frozen=True, slots=True)
class SessionOrder:
    """A session to be opened by the workflow `checkout_id`, under an idempotency key of its own."""

    checkout: NewCheckout
    customer_id: str
    checkout_id: str
    key: str


class StripeCheckout:
    """Sessions in payment mode, through a client that does not retry."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    @activity.defn
    async def open_session(self, order: SessionOrder) -> CheckoutSession:
        """Open a session; the same order again gives the same one. All that fails is a fault."""
        try:
            session = await create_once(
                order.key, partial(self._create, _params(order)), partial(self._find, order)
            )
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited
        return session_from(session)

    @activity.defn
    async def read_session(self, session_id: str) -> CheckoutSession:
        """Read how far a session is. All that fails is a fault."""
        try:
            return session_from(
                await self._client.v1.checkout.sessions.retrieve_async(
                    session_id, {"expand": ["payment_intent"]}
                )
            )
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited

    async def _create(self, params: SessionCreateParams, options: RequestOptions) -> Session:
        return await self._client.v1.checkout.sessions.create_async(params, options)

    async def _find(self, order: SessionOrder) -> Session | None:
        """Look among the customer's open sessions for one of this workflow's."""
        listed = await self._client.v1.checkout.sessions.list_async(
            {"customer": order.customer_id, "status": "open", "limit": _PAGE}
        )
        async for session in listed.auto_paging_iter():
            if session.metadata and session.metadata.to_dict().get("checkout") == order.checkout_id:
                return session
        return None


def session_from(session: Session) -> CheckoutSession:
    """Take what matters from Stripe's object, with its PaymentIntent expanded if it has one."""
    intent = session.payment_intent
    return CheckoutSession(
        session_id=session.id,
        url=session.url,
        expires_at=datetime.fromtimestamp(session.expires_at, UTC),
        amount=Money(session.amount_total or 0, Currency(session.currency or "")),
        status=_status(session),
        payment_id=intent.id if isinstance(intent, PaymentIntent) else intent,
    )


def _status(session: Session) -> CheckoutStatus:
    """Say how far it is: completed is not paid where the bank takes days (stripe 16.1).

    `Session.payment_status` stays `unpaid` when that fails, so the payment has to say it.
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
    """Write what is asked for; the payment says itself what it is, whoever looks at it later."""
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
