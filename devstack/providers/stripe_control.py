"""What the customer and the bank do at Stripe, for tests and the demo (`/_control/…`)."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers import stripe_checkout, stripe_payments
from devstack.providers.control import read
from devstack.providers.storage import Filter, JsonObject
from devstack.providers.stripe_account import Account
from devstack.providers.stripe_cards import set_behaviour
from devstack.providers.stripe_errors import invalid_request
from devstack.providers.stripe_idempotency import Answer

Committed = Callable[[Callable[[], JsonObject]], Answer]
"""Runs a change in a transaction and sends its webhooks."""


class Payment(BaseModel):
    """How the customer pays a checkout session."""

    model_config = ConfigDict(extra="forbid")

    payment_method: str = "pm_card_visa"
    email: str = "customer@example.com"


class Authentication(BaseModel):
    """How the customer answers the bank."""

    model_config = ConfigDict(extra="forbid")

    succeed: bool = True


class Behaviour(BaseModel):
    """Which test card a saved card acts like from now on."""

    model_config = ConfigDict(extra="forbid")

    behaviour: str


def routes(account: Account, committed: Committed) -> list[BaseRoute]:
    """Build the customer's routes; `committed` is how the app makes a change."""

    async def complete(request: Request) -> Response:
        how = await read(request, Payment)
        session = request.path_params["id"]
        return _answer(
            committed,
            lambda: stripe_checkout.complete(account, session, how.payment_method, how.email),
        )

    async def authenticate(request: Request) -> Response:
        how = await read(request, Authentication)
        intent = request.path_params["id"]
        return _answer(committed, lambda: _authenticate(account, intent, how.succeed))

    async def behave(request: Request) -> Response:
        how = await read(request, Behaviour)
        card = account.in_path("payment_method", request.path_params["id"])
        set_behaviour(account, card["id"], how.behaviour)
        return JSONResponse({"id": card["id"], "behaviour": how.behaviour})

    async def resend(request: Request) -> Response:
        event = account.in_path("event", request.path_params["id"])
        account.courier.post(event["id"], event["type"], event)
        account.courier.release()
        return JSONResponse(event)

    async def checkout_page(request: Request) -> Response:
        session = account.in_path("checkout.session", request.path_params["id"])
        return HTMLResponse(_page(session))

    async def pay_on_page(request: Request) -> Response:
        session = request.path_params["id"]
        payment = Payment()
        answer = committed(
            lambda: stripe_checkout.complete(
                account, session, payment.payment_method, payment.email
            )
        )
        return RedirectResponse(answer.body["success_url"], status_code=303)

    async def payment_intents(_: Request) -> Response:
        found = account.storage.select(Filter("payment_intent"))
        return JSONResponse({"payment_intents": found})

    return [
        Route("/_control/checkout/sessions/{id}/complete", complete, methods=["POST"]),
        Route("/c/pay/{id}", checkout_page, methods=["GET"]),
        Route("/c/pay/{id}", pay_on_page, methods=["POST"]),
        Route("/_control/payment_intents", payment_intents, methods=["GET"]),
        Route("/_control/payment_intents/{id}/authenticate", authenticate, methods=["POST"]),
        Route("/_control/payment_methods/{id}", behave, methods=["POST"]),
        Route("/_control/events/{id}/resend", resend, methods=["POST"]),
    ]


def _page(session: JsonObject) -> str:
    """Make the page that `session.url` leads a person to, with one button."""
    total = f"{session['amount_total'] / 100:.2f} {session['currency'].upper()}"
    button = f"<form method=post><button>Pay {total}</button></form>"
    body = button if session["status"] == "open" else f"<p>This session is {session['status']}.</p>"
    return f"<!doctype html><title>Checkout (stand-in)</title><h1>{total}</h1>{body}"


def _answer(committed: Committed, change: Callable[[], JsonObject]) -> Response:
    answer = committed(change)
    return JSONResponse(answer.body, status_code=answer.status)


def _authenticate(account: Account, intent_id: str, succeed: bool) -> JsonObject:
    intent = account.in_path("payment_intent", intent_id)
    if intent["status"] != "requires_action":
        raise invalid_request(f"This PaymentIntent has a status of {intent['status']}.")
    if not succeed:
        return stripe_payments.fail_authentication(account, intent)
    card = account.in_path("payment_method", intent["payment_method"])
    return stripe_payments.pay(account, intent, card)
