"""Ask whether an organisation may start a call, and stop or allow its calls."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from api.dependencies import Id, KeyFirst, Member, Operator, Temporal, Transaction, by
from api.http.fields import Plain
from api.http.problems import documented
from api.services import Services
from billing.admin_log import AdminAction, AdminChange
from billing.calls.gate import Allowance, Freeze
from billing.calls.gate import allowance as decided
from processes import recharges
from store.alerts import changes
from store.calls import gate
from store.ledger import wallets

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}",
    tags=["gate"],
    responses=documented(401, 403, 404, 422, 503),
)


class NewFreeze(BaseModel):
    """Why an organisation may start no calls; its own key reads this."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "Chargebacks, ticket 4711"}]},
    )

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$"), Plain]


@router.get("/allowance")
async def read(org_id: Member, transaction: Transaction, request: Request) -> Allowance:
    """Say whether a call may start now, and how long it may last.

    Ask before every outbound call, and start it with `max_duration_seconds` as Vapi's
    `maxDurationSeconds`. Inbound calls are asked for by Vapi, and get the same answer.
    """
    rules = Services.of(request).rules
    return decided(await gate.standing_of(transaction, org_id), rules)


@router.put("/frozen", responses=documented(400))
async def freeze(
    request: Request, org_id: Id, new: NewFreeze, caller: Operator, temporal: Temporal
) -> Freeze:
    """Let no further call start, whatever the balance. Calls that go on do, and are charged.

    A new reason replaces the one before. A page on which they are to confirm a recharge is closed.
    """
    async with Services.of(request).engine.begin() as connection:
        before = await _frozen_by_now(connection, org_id)
        frozen = await gate.freeze(connection, org_id, new.reason, caller.key_id)
        wallet = await wallets.wallet_of(connection, org_id)
        await changes.record(
            connection,
            AdminChange(
                by(caller),
                AdminAction.FROZEN,
                org_id,
                org_id,
                {"reason": before},
                {"reason": new.reason},
            ),
        )
    if wallet.recharge_below_minor is not None:
        await recharges.look_again(temporal, org_id, "no call may start")
    return frozen


@router.delete("/frozen", status_code=204)
async def thaw(request: Request, org_id: Id, caller: Operator, temporal: Temporal) -> Response:
    """Let calls start again, and a recharge that waited for it; 404 when they were not stopped."""
    async with Services.of(request).engine.begin() as connection:
        before = await _frozen_by_now(connection, org_id)
        await gate.thaw(connection, org_id, caller.key_id)
        wallet = await wallets.wallet_of(connection, org_id)
        change = AdminChange(
            by(caller), AdminAction.THAWED, org_id, org_id, {"reason": before}, {"reason": None}
        )
        await changes.record(connection, change)
    if wallet.recharge_below_minor is not None:
        await recharges.look_again(temporal, org_id, "calls may start again")
    return Response(status_code=204)


async def _frozen_by_now(connection: AsyncConnection, org_id: str) -> str | None:
    """Return why an organisation is frozen; nobody changes that until the transaction ends."""
    await wallets.lock(connection, [org_id])
    return (await gate.standing_of(connection, org_id)).frozen_reason
