"""What routes depend on: a transaction, a client of Temporal, and a key with the right scope."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client

from api.http.fields import NAME
from api.http.problems import Forbidden, Unauthorized
from api.services import Services
from billing.organizations import KEY_PREFIX, ApiKey, Scope
from store.organizations import api_keys

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


async def api_key(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
) -> ApiKey:
    """Return the API key of the caller. Raise Unauthorized."""
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
    """Return the key if it is an operator's. Raise Forbidden."""
    if key.scope is not Scope.OPERATOR:
        raise Forbidden("this needs an operator's key")
    return key


async def member(key: Key, org_id: Id) -> str:
    """Return the organisation's id if the key is its own, or an operator's. Raise Forbidden."""
    if not key.reaches(org_id):
        raise Forbidden("this key is of another organization")
    return org_id


Operator = Annotated[ApiKey, Depends(operator)]
Member = Annotated[str, Depends(member)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most")]
