"""End a payment that is only authorized: capture it, whole or in part, or cancel it."""

from devstack.providers.storage import JsonObject
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.errors import invalid_request
from devstack.providers.stripe.params import Params
from devstack.providers.stripe.payments import CONFIRMABLE, became, unexpected_state
from devstack.providers.stripe.refunds import release


def capture(account: Account, path: Params, params: Params) -> JsonObject:
    """POST /v1/payment_intents/{id}/capture. It is possible once; the rest is released."""
    intent = account.in_path("payment_intent", path["id"])
    if intent["status"] != "requires_capture":
        raise unexpected_state("capture", intent)
    asked = {"amount_to_capture": intent["amount_capturable"], "final_capture": True} | params
    _check(intent, asked)
    amount = asked["amount_to_capture"]
    charge = account.in_path("charge", intent["latest_charge"])
    charge = account.save(charge | {"amount_captured": amount, "captured": True})
    account.emit("charge.captured", charge)
    if amount < charge["amount"]:
        release(account, charge, charge["amount"] - amount)
    received = {"amount_capturable": 0, "amount_received": amount}
    return became(account, intent, "succeeded", **received)


def cancel(account: Account, path: Params, params: Params) -> JsonObject:
    """POST /v1/payment_intents/{id}/cancel."""
    intent = account.in_path("payment_intent", path["id"])
    if intent["status"] not in (*CONFIRMABLE, "requires_capture"):
        raise unexpected_state("cancel", intent)
    if intent["status"] == "requires_capture":
        charge = account.in_path("charge", intent["latest_charge"])
        release(account, charge, charge["amount"])
    reason = params.get("cancellation_reason")
    ended = {"canceled_at": account.clock.seconds(), "cancellation_reason": reason}
    return became(account, intent, "canceled", amount_capturable=0, next_action=None, **ended)


def _check(intent: JsonObject, asked: Params) -> None:
    if not asked["final_capture"]:
        message = "This stand-in does not model multicapture."
        raise invalid_request(message, param="final_capture")
    if not 1 <= asked["amount_to_capture"] <= intent["amount_capturable"]:
        message = (
            f"The amount to capture ({asked['amount_to_capture']}) must be from 1 to the amount"
            f" that can be captured ({intent['amount_capturable']})."
        )
        raise invalid_request(message, code="amount_too_large", param="amount_to_capture")
