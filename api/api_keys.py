"""Keys to this API."""

import secrets

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from api.dependencies import KEY_PREFIX, Id, Limit, Transaction, operator
from api.pages import NAME, After, Page, page
from api.problems import documented
from billing.organization import ApiKey
from store import api_keys, wallets

router = APIRouter(
    prefix="/v1/api-keys",
    tags=["api keys"],
    dependencies=[Depends(operator)],
    responses=documented(401, 403, 422, 503),
)


class NewKey(BaseModel):
    """A key to be made: of one organisation, or of an operator if `org_id` is left out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"label": "Acme's portal", "org_id": "acme"}]},
    )

    label: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")
    org_id: str | None = Field(default=None, pattern=NAME)


class IssuedKey(BaseModel):
    """A new key with its secret, which is shown this once and kept nowhere."""

    api_key: ApiKey
    secret: str = Field(description="Send it as `Authorization: Bearer …`")


@router.post("", status_code=201, responses=documented(400, 404))
async def create(new: NewKey, transaction: Transaction) -> IssuedKey:
    """Make a key."""
    if new.org_id is not None:
        await wallets.read(transaction, new.org_id)
    return await issue(transaction, new.label, new.org_id)


@router.get("")
async def list_all(
    transaction: Transaction, cursor: After = None, limit: Limit = 50
) -> Page[ApiKey]:
    """List keys, revoked ones too; never their secrets."""
    found = await api_keys.page(transaction, cursor, limit + 1)
    return page(found, limit, lambda key: key.key_id)


@router.delete("/{key_id}", status_code=204, responses=documented(404))
async def revoke(key_id: Id, transaction: Transaction) -> Response:
    """Make a key useless from now on."""
    await api_keys.revoke(transaction, key_id)
    return Response(status_code=204)


async def issue(connection: AsyncConnection, label: str, org_id: str | None) -> IssuedKey:
    """Make a key of 256 random bits and keep its hash."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    kept = await api_keys.create(connection, key_id, secret, org_id, label)
    return IssuedKey(api_key=kept, secret=f"{KEY_PREFIX}_{key_id}_{secret}")
