"""The keys to this API: which there are, new ones, others in their place, and their end."""

from datetime import timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from api import idempotency
from api.dependencies import (
    LISTS_KEYS,
    ROTATES_ITSELF,
    Changer,
    Id,
    KeyFirst,
    Limit,
    StartsWork,
    Temporal,
    Transaction,
    by,
)
from api.http.fields import NAME, Moment, Name
from api.http.pages import After, Page, page
from api.http.problems import Forbidden, described, documented
from api.idempotency import ActsOnce
from api.services import Services
from billing.admin_log import AdminAction, AdminChange, key_made, key_rotated
from billing.alerts.admin_log import operator_key_made
from billing.errors import NotFound
from billing.organizations import (
    LONGEST_LIFE,
    LONGEST_OVERLAP,
    OVERLAP,
    ApiKey,
    Rotation,
    Scope,
    fits,
    rotated_id,
    widest,
)
from processes import alerts
from store.alerts import changes
from store.idempotency import Answer
from store.organizations import api_keys, organizations

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/api-keys",
    tags=["api keys"],
    responses=documented(401, 403, 422, 503),
)

_ExpiresAt = Annotated[
    Moment | None,
    Field(
        description=f"From when on it opens nothing, within {LONGEST_LIFE.days} days; and no later"
        " than the key with which it is made"
    ),
]


class NewKey(BaseModel):
    """A key to be made: of one organisation, or of an operator if `org_id` is left out.

    An operator's key has the scope `operator` (all), `support` (reads, and decides about parked
    work), `read` or `metrics`; an organisation's `full` or `read`. Without one it has the first.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"label": "Acme's portal", "org_id": "acme"},
                {"label": "Acme's reports", "org_id": "acme", "scope": "read"},
                {"label": "Prometheus", "scope": "metrics"},
            ]
        },
    )

    label: Name
    org_id: str | None = Field(default=None, pattern=NAME)
    scope: Scope | None = None
    expires_at: _ExpiresAt = None

    @model_validator(mode="after")
    def _has_a_scope_of_its_owner(self) -> Self:
        if not fits(self.scope or widest(self.org_id), self.org_id):
            raise ValueError(
                "with org_id the scope is full or read; without, operator, support, read or metrics"
            )
        return self


class NewRotation(BaseModel):
    """How long the old key goes on beside the new one, and until when the new one is good.

    Without `expires_at` that is as long as the old one would have been.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"overlap_seconds": 3600}, {}]},
    )

    overlap_seconds: StrictInt = Field(
        default=int(OVERLAP.total_seconds()),
        ge=0,
        le=int(LONGEST_OVERLAP.total_seconds()),
        description="0: the old key opens nothing any more at once",
    )
    expires_at: _ExpiresAt = None


class IssuedKey(BaseModel):
    """A new key with its secret, which is shown this once and kept nowhere."""

    api_key: ApiKey
    secret: str = Field(description="Send it as `Authorization: Bearer …`")


class RotatedKey(BaseModel):
    """The key that takes the place of another. `secret` is null if it was shown before."""

    api_key: ApiKey
    secret: str | None = Field(description="Send it as `Authorization: Bearer …`")


@router.post("", status_code=201, dependencies=[StartsWork], responses=documented(400, 404))
async def create(
    new: NewKey, key: Changer, transaction: Transaction, temporal: Temporal
) -> IssuedKey:
    """Make a key. What its maker asks for it cannot approve, nor the other way round.

    An operator's is told to all. An organisation's `full` key makes `read` ones of its own
    organisation.
    """
    scope = new.scope or widest(new.org_id)
    if not key.is_operators and (new.org_id, scope) != (key.org_id, Scope.READ):
        raise Forbidden("this key makes keys of its own organization with scope read only")
    if new.org_id is not None:
        await organizations.read(transaction, new.org_id)
    made, secret = await api_keys.issue(
        transaction, new.label, new.org_id, key, scope, new.expires_at
    )
    is_told = made.scope is Scope.OPERATOR
    await changes.record(
        transaction,
        key_made(made, by(key)),
        (lambda _: operator_key_made(made)) if is_told else None,
    )
    await transaction.commit()
    if is_told:
        await alerts.deliver(temporal, "an operator's key was made")
    return IssuedKey(api_key=made, secret=secret)


@router.get("")
async def list_all(
    key: Annotated[ApiKey, Depends(LISTS_KEYS)],
    transaction: Transaction,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[ApiKey]:
    """List keys, revoked ones too; never their secrets. An organisation's key lists its own."""
    found = await api_keys.page(transaction, cursor, limit + 1, key.org_id)
    return page(found, limit, lambda one: one.key_id)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    dependencies=[StartsWork],
    response_model=RotatedKey,
    responses={
        409: described(
            "The key is replaced already, revoked or expired; or the Idempotency-Key was used for"
            " something else, or is in use"
        ),
        **documented(400, 404),
    },
)
async def rotate(
    key_id: Id,
    new: NewRotation,
    key: Annotated[ApiKey, Depends(ROTATES_ITSELF)],
    once: ActsOnce,
    request: Request,
) -> Response:
    """Make a key of the same scope, organisation and label, which takes the place of this one.

    Any key may rotate itself; an operator's `operator` key any other, an organisation's `full` key
    those of its organisation. The secret is in the first answer only: the same request again names
    the same key, with `secret` null. If the first answer was lost, have the new key revoked; then
    the old one can be rotated once more.
    """
    if key_id != key.key_id and key.scope not in (Scope.OPERATOR, Scope.FULL):
        raise Forbidden(f"with {key.role} this key may rotate itself only")
    shown: list[RotatedKey] = []

    async def act() -> Answer:
        rotated = await _rotate(Services.of(request), key_id, new, key, once.key)
        shown.append(rotated)
        return idempotency.answer(201, rotated.model_copy(update={"secret": None}))

    answer = await once.answer(new, act)
    return idempotency.sent(idempotency.answer(201, shown[0])) if shown else answer


async def _rotate(
    services: Services, key_id: str, new: NewRotation, key: ApiKey, idempotency_key: str
) -> RotatedKey:
    rotation = Rotation(
        rotated_id(key_id, key.caller, idempotency_key),
        timedelta(seconds=new.overlap_seconds),
        new.expires_at,
    )
    async with services.engine.begin() as connection:
        if not key.may_rotate(await api_keys.read(connection, key_id)):
            raise NotFound(f"there is no key {key_id}")
        made, secret = await api_keys.rotate(connection, key_id, rotation, key)
        is_told = secret is not None and made.scope is Scope.OPERATOR
        if secret is not None:
            await changes.record(
                connection,
                key_rotated(made, by(key)),
                (lambda _: operator_key_made(made)) if is_told else None,
            )
    if is_told:
        await alerts.deliver(services.temporal, "an operator's key was made")
    return RotatedKey(api_key=made, secret=secret)


@router.delete("/{key_id}", status_code=204, responses=documented(404))
async def revoke(key_id: Id, key: Changer, transaction: Transaction) -> Response:
    """Make a key useless from now on. An organisation's `full` key does so to its own only."""
    revoked = await api_keys.read(transaction, key_id)
    if not key.reaches(revoked.org_id):
        raise NotFound(f"there is no key {key_id}")
    await api_keys.revoke(transaction, key_id)
    once = f"key/{key_id}:revoked"
    change = AdminChange(by(key), AdminAction.KEY_REVOKED, key_id, revoked.org_id, once=once)
    await changes.record(transaction, change)
    return Response(status_code=204)
