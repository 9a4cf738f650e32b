"""Disputes of succeeded payments, which the payer's bank opens, and what becomes of them.

The platform pays the fee, in the balance transaction of the withdrawal. It is not given back.
"""

from typing import Literal

import stripe
from pydantic import BaseModel, ConfigDict, Field

from devstack.providers.storage import JsonObject
from devstack.providers.stripe import objects
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.balance import book
from devstack.providers.stripe.errors import invalid_request
from devstack.providers.stripe.params import Params
from devstack.providers.stripe.refunds import refundable

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


class Opening(BaseModel):
    """A new dispute, of all that was paid unless an amount is named.

    Only a formal dispute withdraws money, unless `withdraws` says otherwise. `currency` is for one
    that is not the payment's.
    """

    model_config = ConfigDict(extra="forbid")

    status: Literal["needs_response", "warning_needs_response", "prevented"] = "needs_response"
    amount: int | None = Field(default=None, ge=1)
    currency: str | None = None
    withdraws: bool | None = None


class Step(BaseModel):
    """A dispute's next status. `amount` is what is given back, if that is not all."""

    model_config = ConfigDict(extra="forbid")

    status: Literal[
        "warning_under_review",
        "warning_closed",
        "needs_response",
        "under_review",
        "appeal_needs_response",
        "appeal_under_review",
        "won",
        "lost",
    ]
    amount: int | None = Field(default=None, ge=1)
    moves_funds: bool = True


def open_dispute(account: Account, intent_id: str, opening: Opening) -> JsonObject:
    """Dispute a payment. Raise StripeError for one that has not succeeded."""
    charge = refundable(account, intent_id)
    dispute = _new(account, charge, opening)
    account.save(charge | {"disputed": True})
    account.emit("charge.dispute.created", account.save(dispute))
    is_formal = opening.status == "needs_response"
    if is_formal if opening.withdraws is None else opening.withdraws:
        _withdraw(account, dispute)
    return dispute


def take(account: Account, dispute_id: str, step: Step) -> JsonObject:
    """Give a dispute another status, and move the money as that requires. Raise StripeError."""
    dispute = account.in_path("dispute", dispute_id)
    if step.status not in _NEXT.get(dispute["status"], ()):
        raise invalid_request(f"A dispute that is {dispute['status']} cannot be {step.status}.")
    dispute["status"] = step.status
    event = "charge.dispute.closed" if step.status in _CLOSED else "charge.dispute.updated"
    account.emit(event, account.save(dispute))
    held = -sum(booked["amount"] for booked in dispute["balance_transactions"])
    if step.moves_funds and step.status in ("needs_response", "lost") and not held:
        _withdraw(account, dispute)
    if step.moves_funds and step.status == "won" and held:
        _reinstate(account, dispute, step.amount or held)
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


def _new(account: Account, charge: JsonObject, opening: Opening) -> JsonObject:
    now, status = account.clock.seconds(), opening.status
    card = {"brand": "visa", "case_type": _CASE.get(status, "chargeback"), "network": "visa"}
    return objects.new(
        "dispute",
        now,
        amount=opening.amount or charge["amount_captured"],
        balance_transactions=[],
        charge=charge["id"],
        currency=opening.currency or charge["currency"],
        enhanced_eligibility_types=[],
        evidence=objects.blank(stripe.Dispute.Evidence) | {"enhanced_evidence": {}},
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
