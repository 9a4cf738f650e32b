"""Bank debits: the checkout is completed at once, and paid days later or never."""

import secrets

from devstack.providers.storage import JsonObject
from devstack.providers.stripe import objects, payments
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.errors import invalid_request

# Stripe's name of its test payment method. Here `clear` decides whether the bank pays.
BANK_DEBIT = "pm_bacsDebit_success"


def submit(account: Account, intent: JsonObject) -> JsonObject:
    """Hand a payment to the bank. It is then under way, and nothing is received yet."""
    debit = account.save(objects.bank_debit(account.clock.seconds()))
    intent |= {"payment_method": debit["id"], "payment_method_types": ["bacs_debit"]}
    return payments.became(account, intent, "processing")


def clear(account: Account, session_id: str, *, succeed: bool) -> JsonObject:
    """Let the bank pay a completed session, or not. Raise StripeError if no debit is under way."""
    session = account.in_path("checkout.session", session_id)
    intent = account.find("payment_intent", session["payment_intent"] or "")
    if intent is None or intent["status"] != "processing":
        raise invalid_request("No payment of this Checkout Session is under way.")
    debit = account.in_path("payment_method", intent["payment_method"])
    if succeed:
        payments.pay(account, intent, debit)
        paid = account.save(session | {"payment_status": "paid"})
        account.emit("checkout.session.async_payment_succeeded", paid)
        return paid
    _returned(account, intent, debit)
    account.emit("checkout.session.async_payment_failed", session)
    return session


def _returned(account: Account, intent: JsonObject, debit: JsonObject) -> JsonObject:
    """Let the bank refuse. The payment then waits for another payment method, which never comes."""
    error = {
        "type": "invalid_request_error",
        "code": "payment_intent_payment_attempt_failed",
        "message": "The payment failed: the customer's account has insufficient funds.",
        "payment_method": debit,
        "request_log_url": f"https://dashboard.stripe.com/test/logs/req_{secrets.token_hex(7)}",
    }
    unpaid = {"last_payment_error": error, "payment_method": None}
    return payments.became(account, intent, "requires_payment_method", **unpaid)
