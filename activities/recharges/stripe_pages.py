"""Have customers pay on a page at Stripe what their bank does not let their card pay by itself."""

from dataclasses import dataclass, replace
from functools import partial

import stripe
from stripe import RequestOptions, StripeClient
from stripe.checkout import Session
from temporalio import activity

from activities.payments.stripe_answers import LARGEST_PAGE, asking_stripe, id_of
from activities.payments.stripe_keys import create_once
from activities.recharges.stripe_cards import metadata_of
from billing.recharges.attempt import (
    Attempt,
    AttemptState,
    ChargeOutcome,
    customers_deadline,
    given_up,
)

# A payment by bank debit waits for another method, which never comes.
_REFUSED_BY_BANK = frozenset({"canceled", "requires_payment_method"})


@dataclass(frozen=True, slots=True)
class Asking:
    """An attempt that the customer has to confirm, and where they go back to afterwards."""

    attempt: Attempt
    return_url: str


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """A page at Stripe that takes a payment; `outcome` says why there is none: it was paid."""

    session_id: str
    url: str
    outcome: ChargeOutcome | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the page of an attempt. It is closed for good if its time `is_over`."""

    attempt: Attempt
    is_over: bool


class PageActivities:
    """Activities that open such pages, look at them, and close them."""

    def __init__(self, client: StripeClient) -> None:
        self._client = client

    @activity.defn
    async def ask_customer(self, asking: Asking) -> PaymentPage:
        """Open a page on which the customer can pay instead, and on which the bank can ask them.

        The declined payment is canceled first, so that only the page can be paid. If it was paid in
        the meantime, there is nothing to ask for.
        """
        attempt = asking.attempt
        if attempt.payment_id is not None and not await self._cancel(attempt.payment_id):
            return PaymentPage("", "", ChargeOutcome(AttemptState.SUCCEEDED, attempt.payment_id))
        session = await create_once(
            f"{attempt.attempt_id}/page",
            partial(self._create, asking),
            partial(self._find, attempt),
        )
        return PaymentPage(session.id, session.url or "")

    async def _create(self, asking: Asking, options: RequestOptions) -> Session:
        return await self._client.v1.checkout.sessions.create_async(_session(asking), options)

    async def _find(self, attempt: Attempt) -> Session | None:
        """Look among the customer's open sessions for the page of this attempt."""
        listed = await self._client.v1.checkout.sessions.list_async(
            {"customer": attempt.card.customer_id, "status": "open", "limit": LARGEST_PAGE}
        )
        async for session in listed.auto_paging_iter():
            metadata = session.metadata.to_dict() if session.metadata else {}
            if metadata.get("attempt_id") == attempt.attempt_id:
                return session
        return None

    @activity.defn
    async def give_up_charge(self, attempt: Attempt) -> ChargeOutcome:
        """Cancel the payment of an attempt that nobody confirms; it may have been paid by now."""
        if attempt.payment_id is not None and not await self._cancel(attempt.payment_id):
            return ChargeOutcome(AttemptState.SUCCEEDED, attempt.payment_id)
        return given_up(attempt)

    @activity.defn
    async def look_at_page(self, look: Look) -> ChargeOutcome:
        """Return whether the customer has paid. If not, and the time is over, close the page.

        A bank debit is under way for days after the page is complete, and can still be refused:
        that is an end like that of a page which nobody paid.
        """
        attempt, sessions = look.attempt, self._client.v1.checkout.sessions
        with asking_stripe():
            session = await sessions.retrieve_async(attempt.session_id or "")
            if session.status == "open" and look.is_over:
                session = await sessions.expire_async(session.id)
        if session.status == "complete":
            payment_id = id_of(session.payment_intent)
            if session.payment_status == "paid":
                return ChargeOutcome(AttemptState.SUCCEEDED, payment_id)
            return await self._of_debit(attempt, payment_id or "")
        if session.status == "expired":
            return await self.give_up_charge(attempt)
        return ChargeOutcome(AttemptState.REQUIRES_ACTION, attempt.payment_id)

    async def _of_debit(self, attempt: Attempt, payment_id: str) -> ChargeOutcome:
        """Return what became of the payment of a page that is complete, and was not paid at once.

        One that the bank has refused is canceled, so that nobody pays it later.
        """
        with asking_stripe():
            intent = await self._client.v1.payment_intents.retrieve_async(payment_id)
        if intent.status not in _REFUSED_BY_BANK:
            is_paid = intent.status == "succeeded"
            state = AttemptState.SUCCEEDED if is_paid else AttemptState.OPEN
            return ChargeOutcome(state, payment_id)
        return await self.give_up_charge(replace(attempt, payment_id=payment_id))

    async def _cancel(self, payment_id: str) -> bool:
        """Cancel a payment, unless it is canceled already; return False if it has succeeded.

        It can succeed between the look and the cancellation. Then Stripe refuses that, which is
        raised, and the next try sees it.
        """
        with asking_stripe():
            intent = await self._client.v1.payment_intents.retrieve_async(payment_id)
            if intent.status not in {"canceled", "succeeded"}:
                await self._client.v1.payment_intents.cancel_async(payment_id)
        return intent.status != "succeeded"


def _session(asking: Asking) -> stripe.params.checkout.SessionCreateParams:
    attempt = asking.attempt
    return {
        "mode": "payment",
        "customer": attempt.card.customer_id,
        "client_reference_id": attempt.org_id,
        "metadata": {"attempt_id": attempt.attempt_id},
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
            "metadata": metadata_of(attempt),
            "setup_future_usage": "off_session",
        },
    }
