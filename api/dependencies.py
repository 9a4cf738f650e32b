"""What routes depend on: a transaction, a client of Temporal, and a key with the right scope."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Path, Query, Request, Response
from fastapi.dependencies.models import Dependant
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
from billing.organizations import OPERATORS_SCOPES, ORGANIZATIONS_SCOPES, ApiKey, Scope, role_of

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
    may give us none. A route that does not say which keys it lets in cannot be made.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if not any(guards(self.dependant)):
            raise ValueError(f"{self.path} does not say which keys it lets in")

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


class Allowed:
    """Which keys a route lets in: operators' of some scopes, and organisations' of some.

    OpenAPI says it of each route that depends on one.
    """

    def __init__(self, *operators: Scope, organizations: tuple[Scope, ...] = ()) -> None:
        self._operators, self._organizations = operators, organizations

    def require(self, key: ApiKey) -> ApiKey:
        """Return the key if it is let in. Raise Forbidden, which says what would be."""
        if not self.lets_in(key):
            raise Forbidden(f"this needs scope {' or '.join(self.roles)}; the key has {key.role}")
        return key

    def lets_in(self, key: ApiKey) -> bool:
        """Whether a key has one of the scopes. Whose it is, is looked at where that is known."""
        return key.scope in (self._operators if key.is_operators else self._organizations)

    @property
    def roles(self) -> list[str]:
        """The scopes, with whose they are."""
        return [role_of(one, is_operators=True) for one in self._operators] + [
            role_of(one, is_operators=False) for one in self._organizations
        ]


def by(key: ApiKey) -> Who:
    """Return who acts, as the book of powers has it: the key that was shown."""
    return Who(key.key_id, key.label)


class Guard(Allowed):
    """What a route depends on to let these keys in, and no others."""

    async def __call__(self, key: Key) -> ApiKey:
        """Return the key if it is let in. Raise Forbidden."""
        return self.require(key)


def guards(dependant: Dependant) -> Iterator[Allowed]:
    """Find what says which keys a route lets in, among all that it depends on."""
    for one in dependant.dependencies:
        if isinstance(one.call, Allowed):
            yield one.call
        yield from guards(one)


_SEES_ALL = (Scope.OPERATOR, Scope.SUPPORT, Scope.READ)
# What every key may do is in these, and in nothing else.
OPERATES = Guard(Scope.OPERATOR)
DECIDES = Guard(Scope.OPERATOR, Scope.SUPPORT)
SEES_ALL = Guard(*_SEES_ALL)
SCRAPES = Guard(*OPERATORS_SCOPES)
SEES_OWN = Guard(*_SEES_ALL, organizations=ORGANIZATIONS_SCOPES)
CHANGES_OWN = Guard(Scope.OPERATOR, organizations=(Scope.FULL,))
LISTS_KEYS = Guard(*_SEES_ALL, organizations=(Scope.FULL,))
ROTATES_ITSELF = Guard(*OPERATORS_SCOPES, organizations=ORGANIZATIONS_SCOPES)

Operator = Annotated[ApiKey, Depends(OPERATES)]
Decider = Annotated[ApiKey, Depends(DECIDES)]
Reader = Annotated[ApiKey, Depends(SEES_OWN)]
Changer = Annotated[ApiKey, Depends(CHANGES_OWN)]


async def member(key: Reader, org_id: Id) -> str:
    """Return an organisation's id if the key may see what is its own. Raise Forbidden."""
    return of_own(key, org_id)


async def full_member(key: Changer, org_id: Id) -> str:
    """Return an organisation's id if the key may change what is its own. Raise Forbidden."""
    return of_own(key, org_id)


def of_own(key: ApiKey, org_id: str) -> str:
    """Return the organisation's id if the key is its own, or an operator's. Raise Forbidden."""
    if not key.reaches(org_id):
        raise Forbidden("this key is of another organization")
    return org_id


async def start_work(request: Request, key: Key) -> None:
    """Count a request that starts work, by its key and route. Raise TooManyRequests."""
    name = f"{key.caller} {request.scope['route'].path}"
    if wait := Services.of(request).starts.take(name, time.monotonic()):
        raise TooManyRequests("this key has started too much of this in a minute", wait)


StartsWork = Depends(start_work)
Member = Annotated[str, Depends(member)]
FullMember = Annotated[str, Depends(full_member)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most"), Digits]
