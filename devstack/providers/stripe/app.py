"""The stand-in for Stripe: payments, checkout, refunds, disputes and events over HTTP.

Every request passes the same steps, in Stripe's order: key, route, parameters, idempotency, work.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qsl

import orjson
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from devstack.providers import control
from devstack.providers.clock import Clock
from devstack.providers.delivery import Courier, Delivery
from devstack.providers.faults import STORED_STATUS, Faults, Misbehaving, pause
from devstack.providers.storage import JsonObject, Storage
from devstack.providers.stripe import checkout, dashboard, errors, objects
from devstack.providers.stripe import control as stripe_control
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.errors import StripeError, invalid_request
from devstack.providers.stripe.events import signed
from devstack.providers.stripe.expansion import expand
from devstack.providers.stripe.idempotency import Answer, IdempotencyKeys
from devstack.providers.stripe.operations import OPERATIONS, Operation
from devstack.providers.stripe.params import Params, decode, validate

_PAYMENT_REQUIRED = 402


def create_stripe(
    storage: Storage,
    clock: Clock,
    *,
    api_key: str | None = None,
    webhook_url: str | None = None,
    webhook_secret: str = "whsec_stand_in",  # noqa: S107 - a stand-in's default
    base_url: str = "",
) -> Starlette:
    """Build the stand-in. Without a webhook URL it makes events, but delivers none.

    It accepts any secret or restricted key, unless one is given.
    """

    def sign(body: bytes, _: Delivery) -> dict[str, str]:
        return signed(body, webhook_secret)

    courier = Courier(storage, "stripe", url=webhook_url, sign=sign, retries=True)
    account = Account(storage, clock, courier, base_url)
    desk = _Desk(account, IdempotencyKeys(storage, clock), api_key)
    faults = Faults(storage, "stripe")
    routes: list[BaseRoute] = [
        Route(operation.path, partial(desk.serve, operation), methods=[operation.method])
        for operation in OPERATIONS
    ]
    routes += stripe_control.routes(account, desk.committed)
    routes += dashboard.routes(account, desk.committed)
    routes += control.clock_routes(clock, desk.let_time_pass)
    routes += control.delivery_routes(courier)
    routes += control.fault_routes(faults)
    routes.append(control.health_route())
    return Starlette(
        routes=routes,
        lifespan=control.lifespan(courier),
        middleware=[Middleware(Misbehaving, faults=faults, error_body=errors.fault_body)],
        exception_handlers={
            ValidationError: control.refuse,
            StripeError: _refused,
            404: _unrecognized,
            405: _unrecognized,
        },
    )


class _Desk:
    """Serves requests, each in one transaction: the work, its events and its idempotency key."""

    def __init__(self, account: Account, keys: IdempotencyKeys, api_key: str | None) -> None:
        self._account = account
        self._keys = keys
        self._api_key = api_key

    async def serve(self, operation: Operation, request: Request) -> Response:
        """Take a request through every step, and answer it."""
        _authenticate(request, self._api_key)
        sent = await _sent(request)
        params = validate(operation.params, sent)
        key = request.headers.get("idempotency-key") if operation.method == "POST" else None
        with self._keys.claim(key):
            await pause(request.scope)
            known = self._keys.replay(key, request.url.path, sent)
            answer = known or self._work(operation, request, key, sent, params)
        return _response(answer, key)

    def _work(
        self, operation: Operation, request: Request, key: str | None, sent: Params, params: Params
    ) -> Answer:
        """Do the work, and keep the answer under the key, even if it is an error."""
        request_id = objects.new_id("req")
        account = replace(self._account, request_id=request_id, idempotency_key=key)
        asked = params.pop("expand", [])

        def perform() -> JsonObject:
            return expand(account, operation.perform(account, request.path_params, params), asked)

        try:
            with self._transaction():
                answer = _as_stored(_attempt(perform, request_id), request)
                self._keys.remember(key, request.url.path, sent, answer)
        except StripeError as error:
            answer = Answer(error.status, error.body, request_id)
            self._keys.remember(key, request.url.path, sent, answer)
        return answer

    def committed(self, change: Callable[[], JsonObject]) -> Answer:
        """Commit a change that a control route makes, and send its webhooks."""
        with self._transaction():
            return _attempt(change, None)

    def let_time_pass(self) -> None:
        """Expire what is due after the clock was advanced."""
        with self._transaction():
            checkout.expire_due(self._account)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what happens inside, and send its webhooks; or do neither."""
        try:
            with self._account.storage.transaction():
                yield
        except BaseException:
            self._account.courier.forget()
            raise
        self._account.courier.release()


def _attempt(perform: Callable[[], JsonObject], request_id: str | None) -> Answer:
    """Do work, and return its answer. A decline is an answer too, for it changes the payment."""
    try:
        return Answer(200, perform(), request_id)
    except StripeError as error:
        if error.status != _PAYMENT_REQUIRED:
            raise
        return Answer(error.status, error.body, request_id)


def _as_stored(answer: Answer, request: Request) -> Answer:
    """Return the answer that the key is to replay: of a `stored` fault, its error."""
    status = request.scope.get(STORED_STATUS)
    if status is None:
        return answer
    _, body = errors.fault_body(status)
    return Answer(status, orjson.loads(body), answer.request_id)


def _authenticate(request: Request, api_key: str | None) -> None:
    """Accept a secret or restricted key, as Bearer or as the user name of Basic.

    Raise the StripeError of a 401.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        credentials = base64.b64decode(credentials).decode().partition(":")[0]
    if not credentials.startswith(("sk_", "rk_")) or api_key not in (None, credentials):
        raise errors.unauthorized(credentials)


async def _sent(request: Request) -> Params:
    """Read the parameters: the query of a GET, the form of a POST."""
    raw = request.url.query if request.method == "GET" else (await request.body()).decode()
    return decode(parse_qsl(raw, keep_blank_values=True))


def _response(answer: Answer, key: str | None) -> Response:
    headers = {"Stripe-Version": objects.API_VERSION}
    headers["Request-Id"] = answer.request_id or ""
    if key is not None:
        headers["Idempotency-Key"] = key
    if answer.replayed:
        headers["Original-Request"] = headers["Request-Id"]
        headers["Request-Id"] = objects.new_id("req")
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(answer.body, status_code=answer.status, headers=headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, StripeError)  # noqa: S101 - Starlette passes only what is registered
    headers = {"Request-Id": objects.new_id("req")}
    return JSONResponse(error.body, status_code=error.status, headers=headers)


async def _unrecognized(request: Request, _: Exception) -> Response:
    message = f"Unrecognized request URL ({request.method}: {request.url.path})."
    return await _refused(request, invalid_request(message, status=404))
