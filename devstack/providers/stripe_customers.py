"""Customers, and the search for them, which knows new ones only after a while."""

import re

from devstack.providers import stripe_objects
from devstack.providers.storage import Filter, JsonObject
from devstack.providers.stripe_account import Account
from devstack.providers.stripe_errors import invalid_request
from devstack.providers.stripe_params import Params

_PLAIN = ("description", "email", "name", "phone", "preferred_locales")
# At Stripe it takes up to a minute until a search finds what is new (docs.stripe.com/search).
SEARCHABLE_AFTER_SECONDS = 2
_BY_METADATA = re.compile(r"metadata\['(\w+)'\]:'((?:[^'\\]|\\.)*)'")


def create(account: Account, _: Params, params: Params) -> JsonObject:
    """POST /v1/customers."""
    customer = stripe_objects.new(
        "customer",
        account.clock.seconds(),
        balance=0,
        delinquent=False,
        invoice_prefix=stripe_objects.new_id("X")[2:10].upper(),
        invoice_settings=_invoice_settings(params),
        metadata=params.get("metadata") or {},
        next_invoice_sequence=1,
        preferred_locales=[],
        tax_exempt="none",
    )
    account.save(customer | _named(params))
    account.emit("customer.created", customer | _named(params))
    return customer | _named(params)


def update(account: Account, path: Params, params: Params) -> JsonObject:
    """POST /v1/customers/{id}: metadata is merged, an empty value removes a key."""
    customer = account.in_path("customer", path["id"]) | _named(params)
    merged = customer["metadata"] | (params.get("metadata") or {})
    customer["metadata"] = {key: value for key, value in merged.items() if value != ""}
    if "invoice_settings" in params:
        customer["invoice_settings"] = _invoice_settings(params)
    account.save(customer)
    account.emit("customer.updated", customer)
    return customer


def list_customers(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/customers."""
    where = {"email": params["email"]} if "email" in params else {}
    return account.page("customer", "/v1/customers", params, where=where)


def search(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/customers/search, by one metadata field; text is compared without its case.

    One page is all: whoever finds more than ten customers where there should be one has a problem.
    """
    asked = _BY_METADATA.fullmatch(params["query"])
    if asked is None:
        raise invalid_request("This stand-in searches by one metadata field.", param="query")
    name, value = asked[1], re.sub(r"\\(.)", r"\1", asked[2]).lower()
    known = account.clock.seconds() - SEARCHABLE_AFTER_SECONDS
    found = [
        customer
        for customer in account.storage.select(Filter("customer"))
        if customer["created"] <= known and customer["metadata"].get(name, "").lower() == value
    ]
    page = {"object": "search_result", "has_more": False, "next_page": None, "total_count": None}
    return page | {"data": found[: params.get("limit", 10)], "url": "/v1/customers/search"}


def _named(params: Params) -> Params:
    return {name: params[name] for name in _PLAIN if name in params}


def _invoice_settings(params: Params) -> JsonObject:
    unset: JsonObject = dict.fromkeys(
        ("custom_fields", "default_payment_method", "footer", "rendering_options")
    )
    asked: JsonObject = params.get("invoice_settings", {})
    return unset | asked
