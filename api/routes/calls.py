"""Calls: what they cost, why, and which workflow charged them."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import (
    Engine,
    Id,
    KeyFirst,
    Limit,
    Member,
    Operator,
    Reader,
    Temporal,
    Transaction,
    by,
)
from api.http.fields import NAME, Number, Text
from api.http.pages import Page, Position, page
from api.http.problems import documented
from api.routes.parked import Decided, decided, noting, said_by
from billing.admin_log import AdminAction, AdminChange
from billing.calls.call import CallState, call_workflow_id
from billing.calls.call_record import CallRecord, stated_length
from billing.calls.length import LONGEST_SECONDS
from billing.errors import NotFound
from billing.organizations import ApiKey, RegisteredCall
from processes import collections, parked
from store.alerts import changes
from store.calls import call_records, owners
from store.organizations import organizations

router = APIRouter(
    route_class=KeyFirst, tags=["calls"], responses=documented(401, 403, 404, 422, 503)
)


class NewLength(BaseModel):
    """How long a call took, and why an operator says so; without `seconds`, as long as is said.

    That is the length between the call's start and its end, however long it is.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"seconds": "61", "note": "Vapi's recording, ticket 4711"}]
        },
    )

    seconds: (
        Annotated[Decimal, Field(ge=0, le=LONGEST_SECONDS, decimal_places=6), Number] | None
    ) = None
    note: Text


@router.get("/v1/organizations/{org_id}/calls")
async def list_all(
    *,
    org_id: Member,
    key: Reader,
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
    state: CallState | None = None,
) -> Page[CallRecord]:
    """List an organisation's calls, the last seen first.

    What Vapi charges for them (`provider_cost_usd`) is shown to operators only.
    """
    await organizations.read(transaction, org_id)
    found = await call_records.page(transaction, org_id, cursor, limit + 1, state)
    return page([_shown(one, key) for one in found], limit, lambda call: call.position)


class NewCall(BaseModel):
    """A call, by its id at Vapi."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"call_id": "0199a1f2-5b7c-7d3e-9f10-2a3b4c5d6e7f"}]},
    )

    call_id: Annotated[str, Field(pattern=NAME)]


@router.post(
    "/v1/organizations/{org_id}/calls",
    status_code=201,
    responses=documented(400, 403, 409),
)
async def register(
    org_id: Id, new: NewCall, key: Operator, transaction: Transaction, temporal: Temporal
) -> RegisteredCall:
    """Give a call to an organisation, whatever it came over: when the platform starts it, or later.

    If it waits because nobody's it was, it is charged. The same again changes nothing; one that is
    another organization's: 409.
    """
    await organizations.read(transaction, org_id)
    if await owners.register(transaction, new.call_id, org_id):
        change = AdminChange(
            by(key), AdminAction.CALL_REGISTERED, new.call_id, org_id, after={"org_id": org_id}
        )
        await changes.record(transaction, change)
    await transaction.commit()
    await collections.collect_waiting(temporal, org_id, f"call {new.call_id} was registered")
    return RegisteredCall(new.call_id, org_id)


@router.get("/v1/calls/{call_id}")
async def read(call_id: Id, key: Reader, transaction: Transaction) -> CallRecord:
    """Read one call. A call of another organisation is as unknown as one that never was."""
    call = await call_records.read(transaction, call_id)
    if not key.reaches(call.org_id):
        raise NotFound(f"no call {call_id} has been received")
    return _shown(call, key)


def _shown(call: CallRecord, key: ApiKey) -> CallRecord:
    return call if key.is_operators else call.for_organization()


@router.post("/v1/calls/{call_id}/length", responses=documented(400, 409))
async def charge_length(
    call_id: Id, new: NewLength, key: Operator, engine: Engine, temporal: Temporal
) -> Decided:
    """Charge a call that is parked by a length that an operator states; answers with the outcome.

    It counts before all that Vapi says of the call, now and later.
    """
    async with engine.connect() as connection:
        call = (await call_records.read(connection, call_id)).call
    now = datetime.fromtimestamp(time.time(), UTC)
    length = stated_length(call, new.seconds, said_by(key, new.note), now)
    workflow_id = call_workflow_id(call_id)
    after = {"seconds": str(length.seconds)}
    note = noting(engine, key, AdminAction.LENGTH_STATED, length.who_and_why, after)
    answer = await parked.charge_length(temporal, call_id, length, note)
    return decided(workflow_id, answer)
