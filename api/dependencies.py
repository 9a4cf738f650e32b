"""What routes depend on: a transaction, a client of Temporal, and a key with the right scope."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.types import Message
from temporalio.client import Client

from api.http.fields import NAME, Digits
from api.http.problems import Forbidden
from api.http.rate_limits import TooManyRequests
from api.services import Services
from billing.adjustments import Who
from billing.organizations import ApiKey, Scope

# None of what callers write comes near it.
LARGEST_REQUEST = 64 * 1024
MOST_VALUES = 500
Id = Annotated[str, Path(pattern=NAME)]
BEARER = HTTPBearer(auto_error=False, description="An API key: `cw_…`")


async def transaction(request: Request) -> AsyncIterator[AsyncConnection]:
    """Open a transaction for the request, and commit it before the answer is sent."""
    async with Services.of(request).engine.begin() as connection:
        yield connection


Transaction = Annotated[AsyncConnection, Depends(transaction, scope="function")]


async def engine(request: Request) -> AsyncEngine:
    """Return the engine, for routes that ask something outside between two transactions."""
    return Services.of(request).engine


Engine = Annotated[AsyncEngine, Depends(engine)]


async def temporal(request: Request) -> Client:
    """Return the client of Temporal."""
    return Services.of(request).temporal


Temporal = Annotated[Client, Depends(temporal)]


class KeyFirst(APIRoute):
    """A route that looks at the key before it reads the body, of which it reads 64 KiB at most.

    FastAPI reads and parses the body before any dependency: that is work, and whoever has no key
    may give us none.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request once its key is known."""
        answer = super().get_route_handler()

        async def authenticated(request: Request) -> Response:
            keys = Services.of(request).keys
            request.state.api_key = await keys.authenticate(request)
            try:
                return await answer(_limited(request))
            except (HTTPException, RequestValidationError):
                keys.refused(request)
                raise

        return authenticated


def _limited(request: Request) -> Request:
    """Return the request, which raises HTTPException once more is read than it may have.

    The limit of FastAPI's own routers answers by plain text, and before we have looked at the key.
    """
    size = 0

    async def receive() -> Message:
        nonlocal size
        message = await request.receive()
        size += len(message.get("body", b""))
        if size > LARGEST_REQUEST:
            raise HTTPException(413, f"a request may have {LARGEST_REQUEST} bytes at most")
        return message

    return _Small(request.scope, receive)


class _Small(Request):
    """A request whose body has few values: to tell of thousands that are wrong stalls the loop."""

    async def json(self) -> Any:
        """Return the parsed body. Raise HTTPException for too many values in it."""
        parsed = await super().json()
        waiting, values = [parsed], 0
        while waiting:
            one = waiting.pop()
            inside = _inside(one)
            values += len(inside)
            if values > MOST_VALUES:
                raise HTTPException(413, f"a request may have {MOST_VALUES} values at most")
            waiting.extend(inside)
        return parsed


def _inside(value: Any) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


async def api_key(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]
) -> ApiKey:
    """Return the API key of the caller, which the route has looked at."""
    key: ApiKey = request.state.api_key
    return key


Key = Annotated[ApiKey, Depends(api_key)]


async def operator(key: Key) -> ApiKey:
    """Return the key if it is an operator's. Raise Forbidden."""
    if key.scope is not Scope.OPERATOR:
        raise Forbidden("this needs an operator's key")
    return key


def by(key: ApiKey) -> Who:
    """Return who acts, as the book of powers has it: the key that was shown."""
    return Who(key.key_id, key.label)


async def member(key: Key, org_id: Id) -> str:
    """Return the organisation's id if the key is its own, or an operator's. Raise Forbidden."""
    if not key.reaches(org_id):
        raise Forbidden("this key is of another organization")
    return org_id


async def start_work(request: Request, key: Key) -> None:
    """Count a request that starts work, by its key and route. Raise TooManyRequests."""
    name = f"{key.key_id} {request.scope['route'].path}"
    if wait := Services.of(request).starts.take(name, time.monotonic()):
        raise TooManyRequests("this key has started too much of this in a minute", wait)


StartsWork = Depends(start_work)
Operator = Annotated[ApiKey, Depends(operator)]
Member = Annotated[str, Depends(member)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most"), Digits]
