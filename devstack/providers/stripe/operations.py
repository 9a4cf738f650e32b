"""The endpoints of Stripe that the stand-in has."""

from collections.abc import Callable
from dataclasses import dataclass

import stripe.params.checkout

from devstack.providers.storage import JsonObject
from devstack.providers.stripe import (
    captures,
    cards,
    checkout,
    customers,
    disputes,
    payments,
    refunds,
)
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.params import Params

Perform = Callable[[Account, Params, Params], JsonObject]


@dataclass(frozen=True)
class Operation:
    """One endpoint: the SDK's type of its parameters, and what it does."""

    method: str
    path: str
    params: type
    perform: Perform


def _retrieve(kind: str) -> Perform:
    return lambda account, path, _: account.in_path(kind, path["id"])


def _list_events(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/events, of the last 30 days, by one type or several."""
    oldest = account.clock.seconds() - 30 * 24 * 3600
    created = params.get("created", {})
    if isinstance(created, dict):
        created = created | {"gte": max(created.get("gte", 0), oldest)}
    wanted = params.get("types") or ([params["type"]] if "type" in params else None)
    where = {"type": wanted} if wanted else {}
    return account.page("event", "/v1/events", params | {"created": created}, where=where)


_P = stripe.params
_S = stripe.params.checkout
_SESSIONS = "/v1/checkout/sessions"

OPERATIONS = (
    Operation("POST", "/v1/customers", _P.CustomerCreateParams, customers.create),
    Operation("GET", "/v1/customers", _P.CustomerListParams, customers.list_customers),
    Operation("GET", "/v1/customers/{id}", _P.CustomerRetrieveParams, customers.retrieve),
    Operation("DELETE", "/v1/customers/{id}", _P.CustomerDeleteParams, customers.delete),
    Operation("POST", "/v1/customers/{id}", _P.CustomerUpdateParams, customers.update),
    Operation(
        "GET",
        "/v1/customers/{id}/payment_methods",
        _P.CustomerPaymentMethodListParams,
        cards.list_operation,
    ),
    Operation("GET", "/v1/payment_methods", _P.PaymentMethodListParams, cards.list_operation),
    Operation(
        "GET",
        "/v1/payment_methods/{id}",
        _P.PaymentMethodRetrieveParams,
        _retrieve("payment_method"),
    ),
    Operation(
        "POST",
        "/v1/payment_methods/{id}/attach",
        _P.PaymentMethodAttachParams,
        cards.attach_operation,
    ),
    Operation(
        "POST",
        "/v1/payment_methods/{id}/detach",
        _P.PaymentMethodDetachParams,
        cards.detach_operation,
    ),
    Operation("POST", "/v1/payment_intents", _P.PaymentIntentCreateParams, payments.create),
    Operation("GET", "/v1/payment_intents", _P.PaymentIntentListParams, payments.list_intents),
    Operation(
        "GET",
        "/v1/payment_intents/{id}",
        _P.PaymentIntentRetrieveParams,
        _retrieve("payment_intent"),
    ),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/confirm",
        _P.PaymentIntentConfirmParams,
        payments.confirm,
    ),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/cancel",
        _P.PaymentIntentCancelParams,
        captures.cancel,
    ),
    Operation(
        "POST",
        "/v1/payment_intents/{id}/capture",
        _P.PaymentIntentCaptureParams,
        captures.capture,
    ),
    Operation("GET", "/v1/charges", _P.ChargeListParams, payments.list_charges),
    Operation("GET", "/v1/charges/{id}", _P.ChargeRetrieveParams, _retrieve("charge")),
    Operation("POST", "/v1/refunds", _P.RefundCreateParams, refunds.create),
    Operation("GET", "/v1/refunds", _P.RefundListParams, refunds.list_refunds),
    Operation("GET", "/v1/refunds/{id}", _P.RefundRetrieveParams, _retrieve("refund")),
    Operation("GET", "/v1/disputes", _P.DisputeListParams, disputes.list_disputes),
    Operation("GET", "/v1/disputes/{id}", _P.DisputeRetrieveParams, _retrieve("dispute")),
    Operation(
        "GET",
        "/v1/balance_transactions/{id}",
        _P.BalanceTransactionRetrieveParams,
        _retrieve("balance_transaction"),
    ),
    Operation("POST", _SESSIONS, _S.SessionCreateParams, checkout.create),
    Operation("GET", _SESSIONS, _S.SessionListParams, checkout.list_sessions),
    Operation("GET", _SESSIONS + "/{id}", _S.SessionRetrieveParams, checkout.retrieve),
    Operation("POST", _SESSIONS + "/{id}/expire", _S.SessionExpireParams, checkout.expire),
    Operation(
        "GET",
        _SESSIONS + "/{id}/line_items",
        _S.SessionLineItemListParams,
        checkout.list_line_items,
    ),
    Operation("GET", "/v1/events", _P.EventListParams, _list_events),
    Operation("GET", "/v1/events/{id}", _P.EventRetrieveParams, _retrieve("event")),
)
