"""Refunds of succeeded payments, whole or in part."""

from devstack.providers import stripe_objects
from devstack.providers.storage import JsonObject
from devstack.providers.stripe_account import Account
from devstack.providers.stripe_errors import invalid_request
from devstack.providers.stripe_params import Params


def create(account: Account, _: Params, params: Params) -> JsonObject:
    """POST /v1/refunds, by payment_intent or charge."""
    charge = _charge(account, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    _check(charge, amount, left)
    refund = _refund(account, charge, amount, params)
    refunded = charge["amount_refunded"] + amount
    charge |= {"amount_refunded": refunded, "refunded": refunded == charge["amount_captured"]}
    account.save(refund)
    account.save(charge)
    account.emit("refund.created", refund)
    account.emit("charge.refunded", charge)
    return refund


def list_refunds(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/refunds."""
    where = {"charge": params["charge"]} if "charge" in params else {}
    owner = params.get("payment_intent")
    return account.page("refund", "/v1/refunds", params, owner=owner, where=where)


def _charge(account: Account, params: Params) -> JsonObject:
    if "charge" in params:
        return account.in_param("charge", params["charge"], "charge")
    if "payment_intent" not in params:
        raise invalid_request(
            "One of the following params should be provided for this request: "
            "payment_intent or charge."
        )
    intent = account.in_param("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        raise invalid_request(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            param="payment_intent",
        )
    return account.in_param("charge", intent["latest_charge"], "payment_intent")


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


def _refund(account: Account, charge: JsonObject, amount: int, params: Params) -> JsonObject:
    card = {"reference_status": "pending", "reference_type": "acquirer_reference_number"}
    return stripe_objects.new(
        "refund",
        account.clock.seconds(),
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"type": "card", "card": card | {"type": "refund"}},
        metadata=params.get("metadata") or {},
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="succeeded",
    )
