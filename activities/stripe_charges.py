"""Charge saved cards at Stripe. What went wrong is looked up there, never simply done again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import stripe
from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import (
    APIError,
    CardError,
    InvalidRequestError,
    PaymentIntent,
    RateLimitError,
    StripeClient,
)
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.retry_after import retry_after
from billing.attempt import (
    Attempt,
    AttemptState,
    Card,
    Outcome,
    SavedCard,
    customers_deadline,
    declined,
    given_up,
)
from billing.payment import RECHARGE
from store import customers

# The failure is over, and Stripe repeats it as long as it remembers the key.
REPLAYED = "failure_replayed"
# Stripe's largest.
_PAGE = 100
# Two clocks differ by less.
_SKEW = timedelta(hours=1)
_UNKNOWN = Outcome(AttemptState.OPEN)


@dataclass(frozen=True, slots=True)
class Asking:
    """An attempt that the customer has to confirm, and where they go back to afterwards."""

    attempt: Attempt
    return_url: str


@dataclass(frozen=True, slots=True)
class Page:
    """A page at Stripe that takes a payment."""

    session_id: str
    url: str


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the page of an attempt, which is closed for good if the time `is_over`."""

    attempt: Attempt
    is_over: bool


class ChargeActivities:
    """Calls to Stripe about saved cards; no transaction is open during any of them."""

    def __init__(self, engine: AsyncEngine, client: StripeClient) -> None:
        self._engine = engine
        self._client = client

    @activity.defn
    async def find_card(self, org_id: str) -> SavedCard:
        """Find the card to charge: the customer's default, or the one that was saved last."""
        async with self._engine.connect() as connection:
            customer_id = await customers.customer_of(connection, org_id)
        if customer_id is None:
            return SavedCard(None)
        try:
            return SavedCard(await _card_of(self._client, customer_id))
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited

    @activity.defn
    async def charge_card(self, attempt: Attempt) -> Outcome:
        """Ask Stripe once for a payment by the saved card; a decline is an answer.

        Everything else (no answer, 5xx, 429, 409 while the key is in use) is raised, and says
        nothing about whether the card was charged.
        """
        options: stripe.RequestOptions = {"idempotency_key": attempt.attempt_id}
        try:
            intent = await self._client.v1.payment_intents.create_async(_payment(attempt), options)
        except CardError as refused:
            return _refused(refused)
        except InvalidRequestError as invalid:
            return declined(invalid.code or "invalid_request", None)
        except APIError as failure:
            if _is_replayed(failure):
                raise ApplicationError(str(failure), type=REPLAYED) from failure
            raise
        return _outcome(intent)

    @activity.defn
    async def look_up_charge(self, attempt: Attempt) -> Outcome:
        """Look for the payment of an attempt among the customer's; `open` if it is not there.

        By listing: Stripe's search lags behind (docs.stripe.com/search#data-freshness).
        """
        since = int((attempt.written_at - _SKEW).timestamp())
        try:
            page = await self._client.v1.payment_intents.list_async(
                {"customer": attempt.card.customer_id, "created": {"gte": since}, "limit": _PAGE}
            )
            async for intent in page.auto_paging_iter():
                if _attempt_of(intent) == attempt.attempt_id:
                    return _outcome(intent)
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited
        return _UNKNOWN

    @activity.defn
    async def ask_customer(self, asking: Asking) -> Page:
        """Open a page on which the customer can pay instead, and the bank can ask them.

        The declined payment is canceled first: of the two only the page can be paid.
        """
        attempt = asking.attempt
        if attempt.payment_id is not None:
            await self._cancel(attempt.payment_id)
        session = await self._client.v1.checkout.sessions.create_async(
            _session(asking), {"idempotency_key": f"{attempt.attempt_id}/page"}
        )
        return Page(session.id, session.url or "")

    @activity.defn
    async def look_at_page(self, look: Look) -> Outcome:
        """Say whether the customer has paid; when the time is over and they have not, close it."""
        attempt, sessions = look.attempt, self._client.v1.checkout.sessions
        session = await sessions.retrieve_async(attempt.session_id or "")
        if session.status == "open" and look.is_over:
            session = await sessions.expire_async(session.id)
        if session.status == "complete":
            payment_id = _id(session.payment_intent)
            is_paid = session.payment_status == "paid"
            state = AttemptState.SUCCEEDED if is_paid else AttemptState.OPEN
            return Outcome(state, payment_id)
        if session.status == "expired":
            return given_up(attempt)
        return Outcome(AttemptState.REQUIRES_ACTION, attempt.payment_id)

    async def _cancel(self, payment_id: str) -> None:
        """Cancel a payment; that it was canceled before is as good."""
        intent = await self._client.v1.payment_intents.retrieve_async(payment_id)
        if intent.status != "canceled":
            await self._client.v1.payment_intents.cancel_async(payment_id)


async def _card_of(client: StripeClient, customer_id: str) -> Card | None:
    customer = await client.v1.customers.retrieve_async(customer_id)
    if getattr(customer, "deleted", False):
        return None
    settings = customer.invoice_settings
    default = _id(settings.default_payment_method) if settings else None
    saved = await client.v1.customers.payment_methods.list_async(
        customer_id, {"type": "card", "limit": _PAGE}
    )
    cards = [one for one in saved.data if one.card is not None]
    chosen = next((one for one in cards if one.id == default), cards[0] if cards else None)
    if chosen is None or chosen.card is None:
        return None
    return Card(customer_id, chosen.id, chosen.card.fingerprint or chosen.id)


def _metadata(attempt: Attempt) -> dict[str, str]:
    return {
        "type": RECHARGE,
        "org_id": attempt.org_id,
        "amount_minor": str(attempt.amount.amount_minor),
        "attempt_id": attempt.attempt_id,
    }


def _payment(attempt: Attempt) -> stripe.params.PaymentIntentCreateParams:
    """Write the request: always the same for an attempt, for its key stands for it."""
    return {
        "amount": attempt.amount.amount_minor,
        "currency": attempt.amount.currency.value,
        "customer": attempt.card.customer_id,
        "payment_method": attempt.card.payment_method_id,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "confirm": True,
        "off_session": True,
        "metadata": _metadata(attempt),
    }


def _session(asking: Asking) -> stripe.params.checkout.SessionCreateParams:
    attempt = asking.attempt
    return {
        "mode": "payment",
        "customer": attempt.card.customer_id,
        "client_reference_id": attempt.org_id,
        "success_url": asking.return_url,
        "cancel_url": asking.return_url,
        "expires_at": int(customers_deadline(attempt).timestamp()),
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": attempt.amount.currency.value,
                    "unit_amount": attempt.amount.amount_minor,
                    "product_data": {"name": "Wallet recharge"},
                },
            }
        ],
        "payment_intent_data": {
            "metadata": _metadata(attempt),
            "setup_future_usage": "off_session",
        },
    }


def _refused(refused: CardError) -> Outcome:
    """Read a decline: Stripe's own word for it, or the error's code where there is none."""
    error = refused.error
    code = (error and (error.decline_code or error.code)) or refused.code or "card_declined"
    intent = error and error.payment_intent
    return declined(code, intent.id if intent else None, error.advice_code if error else None)


def _outcome(intent: PaymentIntent) -> Outcome:
    """Read what became of a payment; while Stripe is at it, that is unknown."""
    match intent.status:
        case "succeeded":
            return Outcome(AttemptState.SUCCEEDED, intent.id)
        case "requires_action":
            return Outcome(AttemptState.REQUIRES_ACTION, intent.id)
        case "requires_payment_method" | "canceled":
            return _declined(intent)
    return Outcome(AttemptState.OPEN, intent.id)


def _is_replayed(failure: APIError) -> bool:
    headers = {name.lower(): value for name, value in (failure.headers or {}).items()}
    return headers.get("idempotent-replayed") == "true"


def _declined(intent: PaymentIntent) -> Outcome:
    """Read the last error of a payment, in which Stripe leaves out what it does not know."""
    error = intent.last_payment_error
    said = {name: getattr(error, name, None) for name in ("decline_code", "code", "advice_code")}
    code = said["decline_code"] or said["code"] or intent.status
    return declined(code, intent.id, said["advice_code"])


def _attempt_of(intent: PaymentIntent) -> str | None:
    metadata: Mapping[str, Any] = intent.metadata.to_dict() if intent.metadata else {}
    return metadata.get("attempt_id")


def _id(reference: Any) -> str | None:
    """Read the id of what Stripe may have expanded."""
    return reference if reference is None or isinstance(reference, str) else str(reference.id)
