"""The keys to this API."""

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import (
    Id,
    KeyFirst,
    Limit,
    Operator,
    StartsWork,
    Temporal,
    Transaction,
    by,
    operator,
)
from api.http.fields import NAME, Name
from api.http.pages import After, Page, page
from api.http.problems import documented
from billing.admin_log import AdminAction, AdminChange, key_made
from billing.alerts.admin_log import operator_key_made
from billing.organizations import ApiKey, Scope
from processes import alerts
from store.alerts import changes
from store.organizations import api_keys, organizations

router = APIRouter(
    route_class=KeyFirst,
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

    label: Name
    org_id: str | None = Field(default=None, pattern=NAME)


class IssuedKey(BaseModel):
    """A new key with its secret, which is shown this once and kept nowhere."""

    api_key: ApiKey
    secret: str = Field(description="Send it as `Authorization: Bearer …`")


@router.post("", status_code=201, dependencies=[StartsWork], responses=documented(400, 404))
async def create(
    new: NewKey, key: Operator, transaction: Transaction, temporal: Temporal
) -> IssuedKey:
    """Make a key. What its maker asks for it cannot approve, nor the other way round.

    An operator's is told to all.
    """
    if new.org_id is not None:
        await organizations.read(transaction, new.org_id)
    made, secret = await api_keys.issue(transaction, new.label, new.org_id, key.key_id)
    is_operators = made.scope is Scope.OPERATOR
    await changes.record(
        transaction,
        key_made(made, by(key)),
        (lambda _: operator_key_made(made)) if is_operators else None,
    )
    await transaction.commit()
    if is_operators:
        await alerts.deliver(temporal, "an operator's key was made")
    return IssuedKey(api_key=made, secret=secret)


@router.get("")
async def list_all(
    transaction: Transaction, cursor: After = None, limit: Limit = 50
) -> Page[ApiKey]:
    """List keys, revoked ones too; never their secrets."""
    found = await api_keys.page(transaction, cursor, limit + 1)
    return page(found, limit, lambda key: key.key_id)


@router.delete("/{key_id}", status_code=204, responses=documented(404))
async def revoke(key_id: Id, key: Operator, transaction: Transaction) -> Response:
    """Make a key useless from now on."""
    await api_keys.revoke(transaction, key_id)
    change = AdminChange(by(key), AdminAction.KEY_REVOKED, key_id, once=f"key/{key_id}:revoked")
    await changes.record(transaction, change)
    return Response(status_code=204)
