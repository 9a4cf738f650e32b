"""Charge saved cards at Stripe. After a failure the charge is looked up, never just repeated."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import stripe
from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import (
    APIError,
    CardError,
    IdempotencyError,
    InvalidRequestError,
    PaymentIntent,
    StripeClient,
)
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.payments.stripe_answers import LARGEST_PAGE, asking_stripe, is_replayed
from activities.payments.stripe_saved_cards import SavedCards
from billing.payments.payment import RECHARGE
from billing.recharges.attempt import (
    NOT_SENT,
    Attempt,
    AttemptState,
    ChargeOutcome,
    SavedCard,
    declined,
    is_late,
)
from billing.recharges.recharge import is_still_due
from store.ledger import wallets
from store.recharges import recharges

# The type of a fault that Stripe only replays, as it does for as long as it remembers the key.
REPLAYED = "failure_replayed"
# The type of a fault that is ours: Stripe does not take the request, and has asked no bank.
REFUSED = "request_refused"
# Types of a payment's last error that are about a request, not about a card; with one exception.
_OUR_FAULTS = frozenset({"api_error", "idempotency_error", "invalid_request_error"})
_NOT_AUTHENTICATED = "payment_intent_authentication_failure"
# More than the clocks of the database and of Stripe can differ.
_SKEW = timedelta(hours=1)
_UNKNOWN = ChargeOutcome(AttemptState.OPEN)


class ChargeActivities:
    """Activities that ask Stripe about saved cards. No transaction is open during any call."""

    def __init__(self, engine: AsyncEngine, client: StripeClient) -> None:
        self._engine = engine
        self._client = client
        self._cards = SavedCards(engine, client)

    @activity.defn
    async def charge_card(self, attempt: Attempt) -> ChargeOutcome:
        """Ask Stripe once for a payment by the saved card, if it is still due; return the outcome.

        A decline is an outcome. Everything else (no answer, 5xx, 429, 409 while the key is in use,
        a request that Stripe refuses) is raised, and leaves open whether the card was charged.
        """
        if not await self._is_due(attempt):
            return NOT_SENT
        options: stripe.RequestOptions = {"idempotency_key": attempt.attempt_id}
        try:
            with asking_stripe():
                intent = await self._client.v1.payment_intents.create_async(
                    _payment(attempt), options
                )
        except CardError as refused:
            return _refused(refused)
        except (InvalidRequestError, IdempotencyError) as fault:
            raise ApplicationError(str(fault), type=REFUSED) from fault
        except APIError as failure:
            if is_replayed(failure):
                raise ApplicationError(str(failure), type=REPLAYED) from failure
            raise
        return _outcome(intent)

    @activity.defn
    async def look_up_charge(self, attempt: Attempt) -> ChargeOutcome:
        """Look for the payment of an attempt among the customer's; `open` if it is not there.

        It goes through a list, for Stripe's search lags behind
        (docs.stripe.com/search#data-freshness).
        """
        since = int((attempt.written_at - _SKEW).timestamp())
        params: stripe.params.PaymentIntentListParams = {
            "customer": attempt.card.customer_id,
            "created": {"gte": since},
            "limit": LARGEST_PAGE,
        }
        with asking_stripe():
            page = await self._client.v1.payment_intents.list_async(params)
            async for intent in page.auto_paging_iter():
                if _attempt_of(intent) == attempt.attempt_id:
                    return _outcome(intent)
        return _UNKNOWN

    async def _is_due(self, attempt: Attempt) -> bool:
        """Decide anew at the moment of sending, and write that moment down.

        If that is late, the card is looked for again: it may not be theirs any more. The clock is
        Temporal's, as the workflow's is; the decision itself cannot lie after this moment.
        """
        now = max(activity.info().started_time, attempt.created_at)
        saved = SavedCard(attempt.card)
        if is_late(attempt, now):
            saved = await self._cards.find_card(attempt.org_id)
        async with self._engine.begin() as connection:
            wallet = (await wallets.lock(connection, [attempt.org_id]))[attempt.org_id]
            history = await recharges.history(connection, wallet, now, attempt.card.fingerprint)
            if not is_still_due(history, attempt, saved, now):
                return False
            changed = await recharges.change(connection, attempt.attempt_id, sent_at=now)
        return changed is not None


def metadata_of(attempt: Attempt) -> dict[str, str]:
    """Return the metadata of every payment of an attempt."""
    return {
        "type": RECHARGE,
        "org_id": attempt.org_id,
        "amount_minor": str(attempt.amount.amount_minor),
        "attempt_id": attempt.attempt_id,
    }


def _payment(attempt: Attempt) -> stripe.params.PaymentIntentCreateParams:
    """Return the request, always the same for an attempt: its key stands for this request."""
    return {
        "amount": attempt.amount.amount_minor,
        "currency": attempt.amount.currency.value,
        "customer": attempt.card.customer_id,
        "payment_method": attempt.card.payment_method_id,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "confirm": True,
        "off_session": True,
        "metadata": metadata_of(attempt),
    }


def _refused(refused: CardError) -> ChargeOutcome:
    """Return the outcome of a decline, by Stripe's decline code or else by the error's code."""
    error = refused.error
    code = (error and (error.decline_code or error.code)) or refused.code or "card_declined"
    intent = error and error.payment_intent
    return declined(code, intent.id if intent else None, error.advice_code if error else None)


def _outcome(intent: PaymentIntent) -> ChargeOutcome:
    """Return what became of a payment: `open` while Stripe still processes it."""
    match intent.status:
        case "succeeded":
            return ChargeOutcome(AttemptState.SUCCEEDED, intent.id)
        case "requires_action":
            return ChargeOutcome(AttemptState.REQUIRES_ACTION, intent.id)
        case "requires_payment_method" | "canceled":
            return _declined(intent)
    return ChargeOutcome(AttemptState.OPEN, intent.id)


def _declined(intent: PaymentIntent) -> ChargeOutcome:
    """Return the outcome of a decline, from the payment's last error.

    Stripe leaves out the fields of the error that it has no value for. A payment that failed for
    our request, and not for the card, is no decline.
    """
    error = intent.last_payment_error
    if error is not None and error.type in _OUR_FAULTS and error.code != _NOT_AUTHENTICATED:
        why = f"{intent.id}: {getattr(error, 'message', None) or error.type}"
        return ChargeOutcome(AttemptState.ABANDONED, intent.id, refused_for=why)
    codes = {name: getattr(error, name, None) for name in ("decline_code", "code", "advice_code")}
    code = codes["decline_code"] or codes["code"] or intent.status
    return declined(code, intent.id, codes["advice_code"])


def _attempt_of(intent: PaymentIntent) -> str | None:
    metadata: Mapping[str, Any] = intent.metadata.to_dict() if intent.metadata else {}
    return metadata.get("attempt_id")
