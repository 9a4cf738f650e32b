"""Build Stripe's objects: every field that is never absent, null unless it is known."""

import secrets
import types
from collections.abc import Collection, Mapping
from typing import Any, Union, get_args, get_origin

import stripe

from devstack.providers.storage import JsonObject

API_VERSION = "2026-10-28.endive"

# Optional fields that are absent, and not null, unless they have a value: those that Stripe sends
# only if they are expanded, or in cases that are rare (npm's stripe 23.1, `field?: type`).
_ABSENT: Mapping[str, frozenset[str]] = {
    "charge": frozenset(
        {
            "authorization_code", "level3", "presentment_details", "radar_options", "refunds",
            "transfer",
        }
    ),
    "checkout.session": frozenset(
        {
            "branding_settings", "excluded_payment_method_types", "line_items", "name_collection",
            "phone_number_collection", "presentment_details", "redirect_on_completion",
            "return_url", "tax_id_collection",
        }
    ),
    "customer": frozenset(
        {
            "business_name", "cash_balance", "deleted", "individual_name",
            "invoice_credit_balance", "next_invoice_sequence", "sources", "subscriptions", "tax",
            "tax_ids",
        }
    ),
    "dispute": frozenset({"payment_method_details"}),
    "event": frozenset({"account", "context"}),
    "payment_intent": frozenset(
        {"amount_details", "hooks", "payment_details", "presentment_details"}
    ),
    "refund": frozenset(
        {
            "description", "destination_details", "failure_balance_transaction", "failure_reason",
            "instructions_email", "next_action", "pending_reason", "presentment_details",
        }
    ),
}  # fmt: skip

_CLASSES: Mapping[str, tuple[type[stripe.StripeObject], str]] = {
    "balance_transaction": (stripe.BalanceTransaction, "txn"),
    "charge": (stripe.Charge, "ch"),
    "checkout.session": (stripe.checkout.Session, "cs_test"),
    "customer": (stripe.Customer, "cus"),
    "dispute": (stripe.Dispute, "du"),
    "event": (stripe.Event, "evt"),
    "payment_intent": (stripe.PaymentIntent, "pi"),
    "refund": (stripe.Refund, "re"),
}


def blank(declared: type[stripe.StripeObject], absent: Collection[str] = ()) -> JsonObject:
    """Build an object with every nullable field null. The caller adds the required ones."""
    return {
        name: None
        for name, hint in declared.__annotations__.items()
        if name not in absent and _optional(hint)
    }


def _optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)


def new_id(prefix: str) -> str:
    """Make an id that looks like Stripe's."""
    return f"{prefix}_{secrets.token_hex(12)}"


def new(kind: str, created: int, **fields: Any) -> JsonObject:
    """Build an object of a kind, such as `payment_intent`. `created` is seconds since 1970."""
    declared, prefix = _CLASSES[kind]
    known: JsonObject = {"id": new_id(prefix), "object": kind, "created": created}
    if "livemode" in declared.__annotations__:
        known["livemode"] = False
    absent = _ABSENT.get(kind, frozenset())
    return blank(declared, absent) | known | with_value(fields, absent)


def with_value(fields: JsonObject, absent: Collection[str]) -> JsonObject:
    """Leave out what has no value and is never null."""
    return {
        name: value for name, value in fields.items() if value is not None or name not in absent
    }


def billing_details(**known: str | None) -> JsonObject:
    """Build the billing details of a card or charge."""
    return {"address": None, "email": None, "name": None, "phone": None, "tax_id": None} | known


_CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def _card() -> JsonObject:
    return {
        "brand": "visa",
        "checks": dict(_CHECKS),
        "country": "GB",
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": secrets.token_hex(8),
        "funding": "credit",
        "last4": "4242",
        "wallet": None,
    }


def payment_method(created: int, customer: str | None) -> JsonObject:
    """Build a card that a customer has entered."""
    networks: JsonObject = {"available": ["visa"], "preferred": None}
    more: JsonObject = {"display_brand": "visa", "generated_from": None, "networks": networks}
    more |= {"regulated_status": "unregulated", "three_d_secure_usage": {"supported": True}}
    return {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing_details(),
        "card": _card() | more,
        "created": created,
        "customer": customer,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }


def bank_debit(created: int) -> JsonObject:
    """Build a British bank account that a customer has entered, to be debited by Bacs."""
    account = {"fingerprint": secrets.token_hex(8), "last4": "2345", "sort_code": "108800"}
    shared = {key: value for key, value in payment_method(created, None).items() if key != "card"}
    return shared | {"type": "bacs_debit", "bacs_debit": account}


def charge(intent: JsonObject, card: JsonObject, created: int, **outcome: Any) -> JsonObject:
    """Build the charge of one attempt to pay. `outcome` has status, failure and amounts."""
    return new(
        "charge",
        created,
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        billing_details=billing_details(),
        captured=False,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        paid=False,
        payment_intent=intent["id"],
        payment_method=card["id"],
        payment_method_details=_details(card, intent),
        refunded=False,
    ) | outcome  # fmt: skip


def _details(method: JsonObject, intent: JsonObject) -> JsonObject:
    if method["type"] == "card":
        return {"type": "card", "card": _charged_card(method, intent)}
    unknown = {"expected_debit_date": None, "mandate": None}
    return {"type": method["type"], method["type"]: method[method["type"]] | unknown}


def _charged_card(card: JsonObject, intent: JsonObject) -> JsonObject:
    shared = {name: card["card"][name] for name in _card()}
    return shared | {
        "amount_authorized": intent["amount"],
        "authorization_code": None,
        "electronic_commerce_indicator": None,
        "installments": None,
        "mandate": None,
        "network": "visa",
        "network_transaction_id": None,
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "transaction_link_id": None,
    }
