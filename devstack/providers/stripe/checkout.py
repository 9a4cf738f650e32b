"""Checkout sessions in payment mode: created by the platform, paid by the customer, or expired."""

from devstack.providers.storage import Filter, JsonObject
from devstack.providers.stripe import customers, delayed_payments, objects, payments
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.cards import card_for
from devstack.providers.stripe.errors import StripeError, invalid_request
from devstack.providers.stripe.params import Params

_KEPT = (
    "cancel_url", "client_reference_id", "customer", "customer_email", "locale", "submit_type",
    "success_url",
)  # fmt: skip
_SHORTEST_LIFE_SECONDS, _LONGEST_LIFE_SECONDS = 30 * 60, 24 * 3600


def create(account: Account, _: Params, params: Params) -> JsonObject:
    """POST /v1/checkout/sessions, for `mode=payment` and line items with `price_data`."""
    _check(account, params)
    now = account.clock.seconds()
    items = [_line_item(item) for item in params["line_items"]]
    total = sum(item["amount_total"] for item in items)
    session = objects.new("checkout.session", now) | _defaults()
    session |= {name: params[name] for name in _KEPT if name in params} | {
        "amount_subtotal": total,
        "amount_total": total,
        "currency": items[0]["currency"],
        "customer_creation": params.get("customer_creation", "if_required"),
        "expires_at": params.get("expires_at", now + _LONGEST_LIFE_SECONDS),
        "metadata": params.get("metadata") or {},
        "payment_method_types": params.get("payment_method_types", ["card"]),
        "url": f"{account.base_url}/c/pay/{session['id']}",
    }
    if session["customer"]:
        session["customer_creation"] = None
    secret = {"object": "checkout.hidden", "id": session["id"], "created": now}
    account.save(secret | {"items": items, "intent": params.get("payment_intent_data", {})})
    return account.save(session)


def list_sessions(account: Account, _: Params, params: Params) -> JsonObject:
    """GET /v1/checkout/sessions, by payment_intent, customer or status."""
    expire_due(account)
    names = ("payment_intent", "status", "payment_link", "subscription")
    where = {name: params[name] for name in names if name in params}
    owner = params.get("customer")
    return account.page(
        "checkout.session", "/v1/checkout/sessions", params, owner=owner, where=where
    )


def retrieve(account: Account, path: Params, _: Params) -> JsonObject:
    """GET /v1/checkout/sessions/{id}."""
    expire_due(account)
    return account.in_path("checkout.session", path["id"])


def list_line_items(account: Account, path: Params, _: Params) -> JsonObject:
    """GET /v1/checkout/sessions/{id}/line_items, and the expansion of `line_items`."""
    account.in_path("checkout.session", path["id"])
    url = f"/v1/checkout/sessions/{path['id']}/line_items"
    items = account.in_path("checkout.hidden", path["id"])["items"]
    return {"object": "list", "data": items, "has_more": False, "url": url}


def expire(account: Account, path: Params, _: Params) -> JsonObject:
    """POST /v1/checkout/sessions/{id}/expire."""
    session = retrieve(account, path, {})
    if session["status"] != "open":
        raise invalid_request(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Session has a '
            f"status of {session['status']}."
        )
    return _expired(account, session)


def expire_due(account: Account) -> None:
    """Expire the open sessions whose `expires_at` has passed."""
    for session in account.storage.select(Filter("checkout.session", where={"status": "open"})):
        if session["expires_at"] <= account.clock.seconds():
            _expired(account, session)


def complete(account: Account, session_id: str, card_name: str, email: str) -> JsonObject:
    """Pay as the customer would.

    Raise the StripeError of a 402 if the card is declined, of a 400 if the session is not open.
    """
    session = retrieve(account, {"id": session_id}, {})
    if session["status"] != "open":
        raise invalid_request(f"This Checkout Session is {session['status']}, it cannot be paid.")
    asked = account.in_path("checkout.hidden", session_id)["intent"]
    customer = _customer(account, session, asked, email)
    payment = {"amount": session["amount_total"], "currency": session["currency"]}
    payment |= {"customer": customer} if customer else {}
    if card_name == delayed_payments.BANK_DEBIT:
        intent = payments.new_intent(account, payment | asked, None)
        return _completed(account, session, delayed_payments.submit(account, intent), email)
    card = card_for(account, card_name, customer)
    intent = payments.new_intent(account, payment | asked, card)
    paid = payments.confirm_with(account, intent, card, off_session=False)
    if paid["status"] == "requires_action":
        paid = payments.pay(account, paid, card)
    return _completed(account, session, paid, email)


def _completed(account: Account, session: JsonObject, intent: JsonObject, email: str) -> JsonObject:
    unknown = dict.fromkeys(("address", "business_name", "individual_name", "name", "phone"))
    details = unknown | {"email": email, "tax_exempt": "none", "tax_ids": []}
    done = session | {
        "customer": intent["customer"],
        "customer_details": details,
        "payment_intent": intent["id"],
        "payment_status": "paid" if intent["status"] == "succeeded" else "unpaid",
        "status": "complete",
        "url": None,
    }
    account.save(done)
    account.emit("checkout.session.completed", done)
    return done


def _customer(account: Account, session: JsonObject, asked: Params, email: str) -> str | None:
    """Return the session's customer. Make one to save a card on, or if `always` is asked for."""
    needed = session["customer_creation"] == "always" or "setup_future_usage" in asked
    if session["customer"] is None and needed:
        return str(customers.create(account, {}, {"email": email})["id"])
    customer: str | None = session["customer"]
    return customer


def _expired(account: Account, session: JsonObject) -> JsonObject:
    expired = account.save(session | {"status": "expired", "url": None})
    account.emit("checkout.session.expired", expired)
    return expired


def _check(account: Account, params: Params) -> None:
    """Raise StripeError for what Stripe refuses, and for what the stand-in does not have."""
    if params.get("mode") != "payment":
        raise invalid_request("This stand-in models mode=payment only.", param="mode")
    if not params.get("line_items"):
        message = "Missing required param: line_items."
        raise invalid_request(message, code="parameter_missing", param="line_items")
    if "success_url" not in params:
        message = "Missing required param: success_url."
        raise invalid_request(message, code="parameter_missing", param="success_url")
    if "customer" in params:
        account.in_param("customer", params["customer"], "customer")
    if {"customer", "customer_email"} <= params.keys():
        raise _only_one("customer", "customer_email")
    if {"customer", "customer_creation"} <= params.keys():
        raise _only_one("customer", "customer_creation")
    _check_life(account, params)


def _only_one(first: str, second: str) -> StripeError:
    return invalid_request(f"You may only specify one of these parameters: {first}, {second}.")


def _check_life(account: Account, params: Params) -> None:
    life = params.get("expires_at", account.clock.seconds() + _LONGEST_LIFE_SECONDS)
    life -= account.clock.seconds()
    # The platform may have read its clock some seconds before this one is read.
    if not _SHORTEST_LIFE_SECONDS - 60 <= life <= _LONGEST_LIFE_SECONDS:
        message = (
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout "
            "Session creation."
        )
        raise invalid_request(message, param="expires_at")


def _line_item(item: Params) -> JsonObject:
    """Build a line item. Raise StripeError without `price_data`, or if the amount is too small."""
    data = item.get("price_data", {})
    if "unit_amount" not in data or "product_data" not in data:
        message = "This stand-in needs price_data with unit_amount and product_data."
        raise invalid_request(message, param="line_items[0][price_data]")
    quantity = item.get("quantity", 1)
    amount = data["unit_amount"] * quantity
    smallest = payments.SMALLEST_AMOUNT.get(data["currency"])
    if smallest is None:
        message = f"Invalid currency: {data['currency']}"
        raise invalid_request(message, param="line_items[0][price_data][currency]")
    if amount < smallest:
        message = "The Checkout Session's total amount due is below the smallest amount."
        raise invalid_request(message, code="amount_too_small")
    return {
        "id": objects.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": data["currency"],
        "description": data["product_data"]["name"],
        "metadata": {},
        "price": None,
        "quantity": quantity,
    }


def _defaults() -> JsonObject:
    texts = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
    return {
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "custom_fields": [],
        "custom_text": dict.fromkeys(texts),
        "mode": "payment",
        "payment_method_collection": "if_required",
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "shipping_options": [],
        "status": "open",
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
    }
