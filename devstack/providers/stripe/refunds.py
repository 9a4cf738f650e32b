"""Refunds of succeeded payments, whole or in part, and what becomes of them."""

from devstack.providers.storage import JsonObject
from devstack.providers.stripe import objects
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.balance import book
from devstack.providers.stripe.errors import invalid_request
from devstack.providers.stripe.params import Params

# A refund that has succeeded can still fail, if the payer's bank sends it back.
_NEXT = {
    "pending": ("succeeded", "failed"),
    "requires_action": ("succeeded", "failed", "canceled"),
    "succeeded": ("failed",),
}


def create(account: Account, _: Params, params: Params) -> JsonObject:
    """POST /v1/refunds, by payment_intent or charge."""
    return refund(account, _charge(account, params), params, "succeeded")


def refund(account: Account, charge: JsonObject, params: Params, status: str) -> JsonObject:
    """Refund the amount asked for, or all that is left, with this status. Raise StripeError."""
    left = charge["amount"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    _check(charge, amount, left)
    made = _new(account, charge, amount, status)
    made |= {"metadata": params.get("metadata") or {}, "reason": params.get("reason")}
    if status == "succeeded":
        _book(account, made)
    return _announce(account, made, charge)


def release(account: Account, charge: JsonObject, amount: int) -> JsonObject:
    """Refund what was never captured. It was never in the balance, so nothing is booked."""
    return _announce(account, _new(account, charge, amount, "succeeded"), charge)


def become(account: Account, refund_id: str, status: str, reason: str) -> JsonObject:
    """Let a refund succeed, fail for a reason, or be canceled. Raise StripeError."""
    changed = account.in_path("refund", refund_id)
    if status not in _NEXT.get(changed["status"], ()):
        raise invalid_request(f"A refund that is {changed['status']} cannot become {status}.")
    changed["status"] = status
    changed.pop("pending_reason", None)
    if status == "succeeded":
        _book(account, changed)
    else:
        _undo(account, changed, "merchant_request" if status == "canceled" else reason)
    account.save(changed)
    account.emit("refund.updated", changed)
    if status == "failed":
        account.emit("refund.failed", changed)
    account.emit("charge.refund.updated", changed)
    return changed


def list_refunds(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/refunds."""
    where = {"charge": params["charge"]} if "charge" in params else {}
    owner = params.get("payment_intent")
    return account.page("refund", "/v1/refunds", params, owner=owner, where=where)


def refundable(account: Account, intent_id: str) -> JsonObject:
    """Find the charge of a succeeded payment. Raise StripeError for any other."""
    intent = account.in_param("payment_intent", intent_id, "payment_intent")
    if intent["status"] != "succeeded":
        raise invalid_request(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            param="payment_intent",
        )
    return account.in_param("charge", intent["latest_charge"], "payment_intent")


def _charge(account: Account, params: Params) -> JsonObject:
    if "charge" in params:
        return account.in_param("charge", params["charge"], "charge")
    if "payment_intent" not in params:
        raise invalid_request(
            "One of the following params should be provided for this request: "
            "payment_intent or charge."
        )
    return refundable(account, params["payment_intent"])


def _check(charge: JsonObject, amount: int, left: int) -> None:
    if left == 0:
        raise invalid_request(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if amount > left:
        message = f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        raise invalid_request(message, param="amount")
    if amount < 1:
        message = "Invalid positive integer"
        raise invalid_request(message, code="parameter_invalid_integer", param="amount")


def _new(account: Account, charge: JsonObject, amount: int, status: str) -> JsonObject:
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
    return objects.new(
        "refund",
        account.clock.seconds(),
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"type": "card", "card": card | {"type": "refund"}},
        metadata={},
        payment_intent=charge["payment_intent"],
        pending_reason="insufficient_funds" if status == "pending" else None,
        status=status,
    )


def _announce(account: Account, made: JsonObject, charge: JsonObject) -> JsonObject:
    account.save(made)
    refunded = _count(account, charge, made["amount"])
    account.emit("refund.created", made)
    account.emit("charge.refunded", refunded)
    return made


def _count(account: Account, charge: JsonObject, amount: int) -> JsonObject:
    """Add to the charge's refunded amount; below zero for a refund that has failed."""
    refunded = charge["amount_refunded"] + amount
    changed = {"amount_refunded": refunded, "refunded": refunded == charge["amount"]}
    return account.save(charge | changed)


def _book(account: Account, made: JsonObject) -> None:
    booked = book(
        account,
        made,
        -made["amount"],
        type_="refund",
        category="refund",
        description="REFUND FOR CHARGE",
    )
    made["balance_transaction"] = booked["id"]


def _undo(account: Account, made: JsonObject, reason: str) -> None:
    """Undo a refund: what was booked is booked in the other direction."""
    made["failure_reason"] = reason
    _count(account, account.in_path("charge", made["charge"]), -made["amount"])
    if made["balance_transaction"] is not None:
        booked = book(
            account,
            made,
            made["amount"],
            type_="refund_failure",
            category="refund_failure",
            description="REFUND FAILURE",
        )
        made["failure_balance_transaction"] = booked["id"]
