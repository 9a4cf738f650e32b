"""Expand ids into objects, as `expand[]` asks: `latest_charge`, `data.payment_intent.customer`."""

from typing import Any

from devstack.providers.storage import JsonObject
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.checkout import list_line_items
from devstack.providers.stripe.errors import invalid_request
from devstack.providers.stripe.refunds import list_refunds

_KINDS = {
    "balance_transaction": "balance_transaction",
    "charge": "charge",
    "customer": "customer",
    "failure_balance_transaction": "balance_transaction",
    "latest_charge": "charge",
    "payment_intent": "payment_intent",
    "payment_method": "payment_method",
}


def expand(account: Account, item: JsonObject, paths: list[str]) -> JsonObject:
    """Return the answer with every path expanded. Raise StripeError if one cannot be."""
    for path in paths:
        item = _expanded(account, item, path.split("."))
    return item


def _expanded(account: Account, item: JsonObject, steps: list[str]) -> JsonObject:
    name, *rest = steps
    if item["object"] == "list" and name == "data":
        return item | {"data": [_expanded(account, each, rest) for each in item["data"]]}
    value = _value(account, item, name)
    if rest and isinstance(value, dict):
        value = _expanded(account, value, rest)
    return item | {name: value}


def _value(account: Account, item: JsonObject, name: str) -> Any:
    if (item["object"], name) == ("checkout.session", "line_items"):
        return list_line_items(account, {"id": item["id"]}, {})
    if (item["object"], name) == ("charge", "refunds"):
        return list_refunds(account, {}, {"charge": item["id"]})
    if name not in _KINDS or name not in item:
        raise invalid_request(f"This property cannot be expanded ({name}).", param="expand")
    value = item[name]
    return account.find(_KINDS[name], value) if isinstance(value, str) else value
