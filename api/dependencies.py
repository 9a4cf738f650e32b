"""What routes ask for: a transaction, Temporal, and a key that may do what they do."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client

from api.pages import NAME
from api.problems import Forbidden, Unauthorized
from api.services import Services
from billing.organization import ApiKey, Scope
from store import api_keys

KEY_PREFIX = "cw"
Id = Annotated[str, Path(pattern=NAME)]
BEARER = HTTPBearer(auto_error=False, description="An API key: `cw_…`")


async def transaction(request: Request) -> AsyncIterator[AsyncConnection]:
    """Open a transaction for the request; it is committed before the answer is sent."""
    async with Services.of(request).engine.begin() as connection:
        yield connection


Transaction = Annotated[AsyncConnection, Depends(transaction, scope="function")]


async def engine(request: Request) -> AsyncEngine:
    """Give the route connections, for when something outside is asked between two transactions."""
    return Services.of(request).engine


Engine = Annotated[AsyncEngine, Depends(engine)]


async def temporal(request: Request) -> Client:
    """Give the route the client of Temporal."""
    return Services.of(request).temporal


Temporal = Annotated[Client, Depends(temporal)]


async def api_key(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> ApiKey:
    """Authenticate the caller; raises Unauthorized."""
    prefix, _, rest = (credentials.credentials if credentials else "").partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != KEY_PREFIX or not secret:
        raise Unauthorized("send an API key: `Authorization: Bearer cw_…`")
    async with Services.of(request).engine.connect() as connection:
        key = await api_keys.authenticate(connection, key_id, secret)
    if key is None:
        raise Unauthorized("the API key is unknown or revoked")
    return key


Key = Annotated[ApiKey, Depends(api_key)]


async def operator(key: Key) -> ApiKey:
    """Let operators pass; raises Forbidden."""
    if key.scope is not Scope.OPERATOR:
        raise Forbidden("this needs an operator's key")
    return key


async def member(key: Key, org_id: Id) -> str:
    """Let operators and the organisation itself pass; raises Forbidden."""
    if key.scope is not Scope.OPERATOR and key.org_id != org_id:
        raise Forbidden("this key is of another organization")
    return org_id


Operator = Annotated[ApiKey, Depends(operator)]
Member = Annotated[str, Depends(member)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most")]
