"""Disputes of succeeded payments: opened by the payer's bank, and what becomes of them.

The fee is the platform's, is in the balance transaction of the withdrawal, and is not given back.
"""

from typing import Literal

import stripe

from devstack.providers import stripe_objects
from devstack.providers.storage import JsonObject
from devstack.providers.stripe_account import Account
from devstack.providers.stripe_balance import book
from devstack.providers.stripe_errors import invalid_request
from devstack.providers.stripe_params import Params
from devstack.providers.stripe_refunds import refundable

Opening = Literal["needs_response", "warning_needs_response", "prevented"]
Status = Literal[
    "warning_under_review",
    "warning_closed",
    "needs_response",
    "under_review",
    "appeal_needs_response",
    "appeal_under_review",
    "won",
    "lost",
]

_FEE = 2000
_CASE = {"warning_needs_response": "inquiry", "prevented": "resolution"}
_CLOSED = ("warning_closed", "won", "lost")
_APPEALS = ("appeal_needs_response", "appeal_under_review")
_NEXT: dict[str, tuple[str, ...]] = {
    "warning_needs_response": ("warning_under_review", "warning_closed", "needs_response"),
    "warning_under_review": ("warning_closed", "needs_response"),
    "needs_response": ("under_review", "won", "lost"),
    "under_review": ("won", "lost"),
    "won": _APPEALS,
    "lost": _APPEALS,
    "appeal_needs_response": ("appeal_under_review", "won", "lost"),
    "appeal_under_review": ("won", "lost"),
}


def open_dispute(
    account: Account, intent_id: str, status: Opening, amount: int | None, *, withdraws: bool
) -> JsonObject:
    """Dispute a payment, all of it unless an amount is named. Raises StripeError."""
    charge = refundable(account, intent_id)
    dispute = _new(account, charge, status, amount or charge["amount_captured"])
    account.save(charge | {"disputed": True})
    account.emit("charge.dispute.created", account.save(dispute))
    if withdraws:
        _withdraw(account, dispute)
    return dispute


def become(
    account: Account, dispute_id: str, status: Status, amount: int | None, *, moves_funds: bool
) -> JsonObject:
    """Take a dispute to another status, and the money to where it then is. Raises StripeError.

    `amount` is what is given back, if that is not all.
    """
    dispute = account.in_path("dispute", dispute_id)
    if status not in _NEXT.get(dispute["status"], ()):
        raise invalid_request(f"A dispute that is {dispute['status']} cannot become {status}.")
    dispute["status"] = status
    event = "charge.dispute.closed" if status in _CLOSED else "charge.dispute.updated"
    account.emit(event, account.save(dispute))
    held = -sum(booked["amount"] for booked in dispute["balance_transactions"])
    if moves_funds and status in ("needs_response", "lost") and not held:
        _withdraw(account, dispute)
    if moves_funds and status == "won" and held:
        _reinstate(account, dispute, amount or held)
    return dispute


def list_disputes(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/disputes."""
    where = {"charge": params["charge"]} if "charge" in params else {}
    owner = params.get("payment_intent")
    return account.page("dispute", "/v1/disputes", params, owner=owner, where=where)


def _withdraw(account: Account, dispute: JsonObject) -> None:
    amount, description = -dispute["amount"], f"Chargeback withdrawal for {dispute['charge']}"
    _move(account, dispute, amount, "dispute", description=description, fee=_FEE)
    account.emit("charge.dispute.funds_withdrawn", account.save(dispute))


def _reinstate(account: Account, dispute: JsonObject, amount: int) -> None:
    description = f"Chargeback reversal for {dispute['charge']}"
    _move(account, dispute, amount, "dispute_reversal", description=description)
    account.emit("charge.dispute.funds_reinstated", account.save(dispute))


def _move(
    account: Account,
    dispute: JsonObject,
    amount: int,
    category: str,
    *,
    description: str,
    fee: int = 0,
) -> None:
    booked = book(
        account,
        dispute,
        amount,
        type_="adjustment",
        category=category,
        description=description,
        fee=fee,
    )
    dispute["balance_transactions"] = [*dispute["balance_transactions"], booked]


def _new(account: Account, charge: JsonObject, status: Opening, amount: int) -> JsonObject:
    now = account.clock.seconds()
    card = {"brand": "visa", "case_type": _CASE.get(status, "chargeback"), "network": "visa"}
    return stripe_objects.new(
        "dispute",
        now,
        amount=amount,
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence=stripe_objects.blank(stripe.Dispute.Evidence) | {"enhanced_evidence": {}},
        evidence_details={
            "due_by": now + 7 * 24 * 3600,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        is_charge_refundable=status == "warning_needs_response",
        metadata={},
        network_reason_code="10.4",
        payment_intent=charge["payment_intent"],
        payment_method_details={"type": "card", "card": card | {"network_reason_code": "10.4"}},
        reason="fraudulent",
        status=status,
    )
