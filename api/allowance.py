"""May an organisation start a call: for whoever starts them, and for those who stop that."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.dependencies import Id, Member, Operator, Transaction
from api.problems import documented
from api.services import Services
from billing.gate import Allowance, Freeze
from billing.gate import allowance as decided
from store import gate

router = APIRouter(
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

    reason: str = Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")


@router.get("/allowance")
async def read(org_id: Member, transaction: Transaction, request: Request) -> Allowance:
    """Say whether a call may start now, and how long it may last.

    Ask before every outbound call, and start it with `max_duration_seconds` as Vapi's
    `maxDurationSeconds`. Inbound calls are asked for by Vapi, and get the same answer.
    """
    rules = Services.of(request).gate.rules
    return decided(await gate.standing_of(transaction, org_id), rules)


@router.put("/frozen", responses=documented(400))
async def freeze(org_id: Id, new: NewFreeze, transaction: Transaction, caller: Operator) -> Freeze:
    """Let no further call start, whatever the balance. Calls that go on do, and are charged.

    A new reason replaces the one before.
    """
    return await gate.freeze(transaction, org_id, new.reason, caller.key_id)


@router.delete("/frozen", status_code=204)
async def thaw(org_id: Id, transaction: Transaction, caller: Operator) -> Response:
    """Let calls start again; 404 when they were not stopped."""
    await gate.thaw(transaction, org_id, caller.key_id)
    return Response(status_code=204)
