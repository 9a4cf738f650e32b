"""What the customer and the bank do at Stripe, as routes for tests and the demo (`/_control/…`)."""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers.control import read
from devstack.providers.storage import Filter, JsonObject
from devstack.providers.stripe import checkout, delayed_payments, payments
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.cards import set_behaviour
from devstack.providers.stripe.errors import invalid_request
from devstack.providers.stripe.events import thin
from devstack.providers.stripe.idempotency import Answer

Committed = Callable[[Callable[[], JsonObject]], Answer]
"""Commits a change, and sends its webhooks."""


class Payment(BaseModel):
    """How the customer pays a checkout session."""

    model_config = ConfigDict(extra="forbid")

    payment_method: str = "pm_card_visa"
    email: str = "customer@example.com"


class Authentication(BaseModel):
    """How the customer answers the bank's request to authenticate."""

    model_config = ConfigDict(extra="forbid")

    succeed: bool = True


class Clearing(BaseModel):
    """Whether the bank pays a debit."""

    model_config = ConfigDict(extra="forbid")

    succeed: bool = True


class Resending(BaseModel):
    """Whether an event is delivered as it is, or as the thin event of the same happening."""

    model_config = ConfigDict(extra="forbid")

    thin: bool = False


class Behaviour(BaseModel):
    """Which test card a saved card acts like from now on."""

    model_config = ConfigDict(extra="forbid")

    behaviour: str


def routes(account: Account, committed: Committed) -> list[BaseRoute]:
    """Build the customer's routes; `committed` makes a change."""
    customer = _Customer(account, committed)
    return [
        Route("/_control/checkout/sessions/{id}/complete", customer.complete, methods=["POST"]),
        Route("/_control/checkout/sessions/{id}/clear", customer.clear, methods=["POST"]),
        Route("/c/pay/{id}", customer.see_page, methods=["GET"]),
        Route("/c/pay/{id}", customer.pay_on_page, methods=["POST"]),
        Route("/_control/payment_intents", customer.payment_intents, methods=["GET"]),
        Route(
            "/_control/payment_intents/{id}/authenticate", customer.authenticate, methods=["POST"]
        ),
        Route("/_control/payment_methods/{id}", customer.change_card, methods=["POST"]),
        Route("/_control/events/{id}/resend", customer.resend, methods=["POST"]),
    ]


class _Customer:
    """The customer, who pays and authenticates, and the bank behind the card."""

    def __init__(self, account: Account, committed: Committed) -> None:
        self._account = account
        self._committed = committed

    async def complete(self, request: Request) -> Response:
        """Pay a checkout session."""
        return _shown(self._pay(request.path_params["id"], await read(request, Payment)))

    async def clear(self, request: Request) -> Response:
        """Let the bank pay the debit of a completed session, or return it."""
        how = await read(request, Clearing)
        session = request.path_params["id"]
        return _shown(
            self._committed(
                lambda: delayed_payments.clear(self._account, session, succeed=how.succeed)
            )
        )

    async def see_page(self, request: Request) -> Response:
        """Show the page that `session.url` leads to."""
        session = self._account.in_path("checkout.session", request.path_params["id"])
        return HTMLResponse(_page(session))

    async def pay_on_page(self, request: Request) -> Response:
        """Pay by the page's button, and redirect to the session's `success_url`."""
        paid = self._pay(request.path_params["id"], Payment())
        return RedirectResponse(paid.body["success_url"], status_code=303)

    async def authenticate(self, request: Request) -> Response:
        """Authenticate a payment that waits in `requires_action`, or fail to."""
        how = await read(request, Authentication)
        intent = request.path_params["id"]
        settle = _approve if how.succeed else payments.fail_authentication
        return _shown(self._committed(lambda: settle(self._account, self._waiting(intent))))

    async def change_card(self, request: Request) -> Response:
        """Make a saved card act like another test card."""
        how = await read(request, Behaviour)
        card = self._account.in_path("payment_method", request.path_params["id"])
        set_behaviour(self._account, card["id"], how.behaviour)
        return JSONResponse({"id": card["id"], "behaviour": how.behaviour})

    async def resend(self, request: Request) -> Response:
        """Deliver an event once more, as the button in Stripe's dashboard does."""
        how = await read(request, Resending)
        event = self._account.in_path("event", request.path_params["id"])
        event = thin(event) if how.thin else event
        self._account.courier.post(event["id"], event["type"], event)
        self._account.courier.release()
        return JSONResponse(event)

    async def payment_intents(self, _: Request) -> Response:
        """Show every payment, newest first."""
        found = self._account.storage.select(Filter("payment_intent"))
        return JSONResponse({"payment_intents": found})

    def _pay(self, session: str, how: Payment) -> Answer:
        return self._committed(
            lambda: checkout.complete(self._account, session, how.payment_method, how.email)
        )

    def _waiting(self, intent_id: str) -> JsonObject:
        intent = self._account.in_path("payment_intent", intent_id)
        if intent["status"] != "requires_action":
            raise invalid_request(f"This PaymentIntent has a status of {intent['status']}.")
        return intent


def _approve(account: Account, intent: JsonObject) -> JsonObject:
    card = account.in_path("payment_method", intent["payment_method"])
    return payments.pay(account, intent, card)


def _shown(answer: Answer) -> Response:
    return JSONResponse(answer.body, status_code=answer.status)


def _page(session: JsonObject) -> str:
    """Return the page that `session.url` leads to, with one button."""
    total = f"{session['amount_total'] / 100:.2f} {session['currency'].upper()}"
    button = f"<form method=post><button>Pay {total}</button></form>"
    body = button if session["status"] == "open" else f"<p>This session is {session['status']}.</p>"
    return f"<!doctype html><title>Checkout (stand-in)</title><h1>{total}</h1>{body}"
