"""PaymentIntents and their charges: the states of a card payment, and its events."""

from typing import Any

from devstack.providers.storage import JsonObject
from devstack.providers.stripe import objects
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.cards import (
    AUTHENTICATION_REQUIRED,
    Decline,
    attach,
    card_for,
    decline_of,
)
from devstack.providers.stripe.errors import DOC_URL, StripeError, invalid_request
from devstack.providers.stripe.params import Params

SMALLEST_AMOUNT = {"gbp": 30, "usd": 50, "eur": 50, "cad": 50, "aud": 50}
CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_KEPT = (
    "customer", "description", "receipt_email", "setup_future_usage", "statement_descriptor",
    "statement_descriptor_suffix", "transfer_group",
)  # fmt: skip


def create(account: Account, _: Params, params: Params) -> JsonObject:
    """POST /v1/payment_intents."""
    _check(account, params)
    card = None
    if "payment_method" in params:
        card = card_for(account, params["payment_method"], params.get("customer"))
    intent = new_intent(account, params, card)
    if params.get("confirm"):
        return confirm_with(account, intent, _needed(card), off_session=_off_session(params))
    return intent


def new_intent(account: Account, params: Params, card: JsonObject | None) -> JsonObject:
    """Store a new PaymentIntent, and emit its event. It waits for a card or for confirmation."""
    intent = objects.new("payment_intent", account.clock.seconds())
    kept = {name: params[name] for name in _KEPT if name in intent and name in params}
    intent |= kept | {
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_received": 0,
        "automatic_payment_methods": _automatic(params),
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": f"{intent['id']}_secret_{objects.new_id('s')[2:]}",
        "confirmation_method": params.get("confirmation_method", "automatic"),
        "currency": params["currency"],
        "metadata": params.get("metadata") or {},
        "payment_method": card["id"] if card else None,
        "payment_method_types": params.get("payment_method_types", ["card"]),
        "status": "requires_confirmation" if card else "requires_payment_method",
    }
    account.save(intent)
    account.emit("payment_intent.created", intent)
    return intent


def confirm(account: Account, path: Params, params: Params) -> JsonObject:
    """POST /v1/payment_intents/{id}/confirm."""
    intent = account.in_path("payment_intent", path["id"])
    if intent["status"] not in CONFIRMABLE:
        raise unexpected_state("confirm", intent)
    name = params.get("payment_method") or intent["payment_method"]
    card = card_for(account, name, intent["customer"]) if name else None
    return confirm_with(account, intent, _needed(card), off_session=_off_session(params))


def update(account: Account, intent_id: str, params: Params) -> JsonObject:
    """Edit metadata and customer; metadata is merged, an empty value removes a key."""
    intent = account.in_path("payment_intent", intent_id)
    merged = intent["metadata"] | params.get("metadata", {})
    intent["metadata"] = {key: value for key, value in merged.items() if value != ""}
    if "customer" in params:
        intent["customer"] = account.in_param("customer", params["customer"], "customer")["id"]
    return account.save(intent)


def list_intents(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/payment_intents."""
    owner = params.get("customer")
    return account.page("payment_intent", "/v1/payment_intents", params, owner=owner)


def list_charges(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/charges."""
    where = {"customer": params["customer"]} if "customer" in params else {}
    owner = params.get("payment_intent")
    return account.page("charge", "/v1/charges", params, owner=owner, where=where)


def confirm_with(
    account: Account, intent: JsonObject, card: JsonObject, *, off_session: bool
) -> JsonObject:
    """Try to pay with the card. Record a decline, and raise the StripeError of a 402."""
    decline = decline_of(account, card["id"])
    if decline is AUTHENTICATION_REQUIRED and not off_session:
        action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        intent = intent | {"payment_method": card["id"]}
        return became(account, intent, "requires_action", next_action=action)
    if decline is not None:
        raise _declined(account, intent, card, decline)
    return pay(account, intent, card)


def pay(account: Account, intent: JsonObject, card: JsonObject) -> JsonObject:
    """Charge the card. The payment has then succeeded, or waits to be captured."""
    if intent["setup_future_usage"] and intent["customer"]:
        card = attach(account, card, intent["customer"])
    captured = intent["capture_method"] != "manual"
    amount = intent["amount"]
    charge = objects.charge(
        intent,
        card,
        account.clock.seconds(),
        amount_captured=amount if captured else 0,
        captured=captured,
        outcome=_outcome("authorized", None, "Payment complete."),
        paid=True,
        status="succeeded",
    )
    account.save(charge)
    account.emit("charge.succeeded", charge)
    return became(
        account,
        intent,
        "succeeded" if captured else "requires_capture",
        amount_capturable=0 if captured else amount,
        amount_received=amount if captured else 0,
        last_payment_error=None,
        latest_charge=charge["id"],
        next_action=None,
        payment_method=card["id"],
    )


def fail_authentication(account: Account, intent: JsonObject) -> JsonObject:
    """Let the customer fail to authenticate. The payment then waits for another card."""
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_authentication_failure",
        "doc_url": DOC_URL + "payment-intent-authentication-failure",
        "message": "The provided PaymentMethod has failed authentication.",
        "payment_method": account.find("payment_method", intent["payment_method"]),
    }
    unpaid = {"last_payment_error": error, "payment_method": None, "next_action": None}
    return became(account, intent, "requires_payment_method", **unpaid)


def _declined(
    account: Account, intent: JsonObject, card: JsonObject, decline: Decline
) -> StripeError:
    """Record the failed charge, and build the card error, with the PaymentIntent inside."""
    charge = objects.charge(
        intent,
        card,
        account.clock.seconds(),
        failure_code=decline.code,
        failure_message=decline.message,
        outcome=_outcome("issuer_declined", decline.decline_code, decline.message),
        status="failed",
    )
    account.save(charge)
    account.emit("charge.failed", charge)
    error = {
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": DOC_URL + decline.code.replace("_", "-"),
        "payment_method": card,
    }
    if decline.advice_code is not None:
        error["advice_code"] = decline.advice_code
    known = error | {"type": "card_error", "message": decline.message}
    failed = {"last_payment_error": known, "latest_charge": charge["id"], "payment_method": None}
    after = became(account, intent, "requires_payment_method", next_action=None, **failed)
    return StripeError(402, "card_error", decline.message, payment_intent=after, **error)


_EVENTS = {
    "canceled": "payment_intent.canceled",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "requires_capture": "payment_intent.amount_capturable_updated",
    "requires_payment_method": "payment_intent.payment_failed",
    "succeeded": "payment_intent.succeeded",
}


def became(account: Account, intent: JsonObject, status: str, **changes: Any) -> JsonObject:
    """Store the payment's new state, and emit the event that belongs to it."""
    after = account.save(intent | changes | {"status": status})
    account.emit(_EVENTS[status], after)
    return after


def _outcome(type_: str, reason: str | None, message: str) -> JsonObject:
    paid = type_ == "authorized"
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None if paid else "05",
        "network_status": "approved_by_network" if paid else "declined_by_network",
        "reason": reason,
        "risk_level": "normal",
        "risk_score": 12,
        "seller_message": message,
        "type": type_,
    }


def _automatic(params: Params) -> JsonObject | None:
    """Return the automatic payment methods, or None if payment method types are named.

    They are on by default since API version 2023-08-16.
    """
    if "payment_method_types" in params:
        return None
    asked: JsonObject = params.get("automatic_payment_methods", {})
    return {"allow_redirects": "always", "enabled": True} | asked


def _off_session(params: Params) -> bool:
    """Return whether `off_session` is set: to true, or to a reason (`one_off`, `recurring`)."""
    return params.get("off_session", False) not in (False, "false")


def _check(account: Account, params: Params) -> None:
    """Raise StripeError for what Stripe refuses before it makes a payment."""
    currency = params["currency"]
    if currency not in SMALLEST_AMOUNT:
        raise invalid_request(f"Invalid currency: {currency}", param="currency")
    if params["amount"] < SMALLEST_AMOUNT[currency]:
        message = f"Amount must be at least {SMALLEST_AMOUNT[currency]} {currency}"
        raise invalid_request(message, code="amount_too_small", param="amount")
    if "customer" in params:
        account.in_param("customer", params["customer"], "customer")
    if _off_session(params) and not params.get("confirm"):
        message = "`off_session` can only be used together with `confirm=true`."
        raise invalid_request(message, param="off_session")


def _needed(card: JsonObject | None) -> JsonObject:
    if card is None:
        raise invalid_request(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
            param="payment_method",
        )
    return card


def unexpected_state(action: str, intent: JsonObject) -> StripeError:
    """Build the error for an action that a payment's status does not allow."""
    return invalid_request(
        f"You cannot {action} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )
