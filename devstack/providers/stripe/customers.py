"""Customers. There is no search for them, as in the countries in which Stripe has none."""

from devstack.providers.storage import Filter, JsonObject, Row
from devstack.providers.stripe import cards, objects
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.params import Params

_PLAIN = ("description", "email", "name", "phone", "preferred_locales")
_DELETED = "deleted_customer"


def create(account: Account, _: Params, params: Params) -> JsonObject:
    """POST /v1/customers."""
    customer = objects.new(
        "customer",
        account.clock.seconds(),
        balance=0,
        delinquent=False,
        invoice_prefix=objects.new_id("X")[2:10].upper(),
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
    """POST /v1/customers/{id}. Metadata is merged; an empty value removes a key."""
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


def retrieve(account: Account, path: Params, _: Params) -> JsonObject:
    """GET /v1/customers/{id}. Of one that was deleted, only that is told."""
    deleted = account.find(_DELETED, path["id"])
    return deleted or account.in_path("customer", path["id"])


def delete(account: Account, path: Params, _: Params) -> JsonObject:
    """DELETE /v1/customers/{id}. Its cards are detached, and no request can name it any more."""
    customer = account.in_path("customer", path["id"])
    for card in account.storage.select(Filter("payment_method", owner=customer["id"])):
        cards.detach(account, card)
    deleted = {"id": customer["id"], "object": "customer", "deleted": True}
    account.storage.delete("customer", customer["id"])
    account.storage.save(
        Row(
            kind=_DELETED,
            id=customer["id"],
            created=account.clock.milliseconds(),
            updated=account.clock.milliseconds(),
            data=deleted,
        )
    )
    account.emit("customer.deleted", customer)
    return deleted


def _named(params: Params) -> Params:
    return {name: params[name] for name in _PLAIN if name in params}


def _invoice_settings(params: Params) -> JsonObject:
    unset: JsonObject = dict.fromkeys(
        ("custom_fields", "default_payment_method", "footer", "rendering_options")
    )
    asked: JsonObject = params.get("invoice_settings", {})
    return unset | asked
