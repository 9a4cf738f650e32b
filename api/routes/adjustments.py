"""Adjustments: what operators give and take by hand, and who else has to agree."""

from typing import Annotated, Literal, Self

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api import idempotency
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
)
from api.http.fields import NOT_BLANK, Plain, Text
from api.http.pages import Page, Position, page
from api.http.problems import described, documented
from api.idempotency import ActsOnce
from api.services import Services
from billing.adjustments import (
    Adjustment,
    AdjustmentState,
    ApprovalVerdict,
    Direction,
    Proposal,
    Who,
    Word,
    adjustment_id,
    agrees,
    asked_again,
    asks_the_same,
    proposal_of,
)
from billing.errors import AlreadyDecided, Conflict, CurrencyMismatch, NotFound
from billing.ledger.entry import Account
from billing.ledger.money import Currency, Money
from billing.organizations import ApiKey
from processes.adjustments import adjust, decide
from store import adjustments
from store.idempotency import Answer
from store.ledger import wallets
from store.organizations import organizations
from store.organizations.four_eyes import require_another_person

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1",
    tags=["adjustments"],
    responses=documented(401, 403, 422, 503),
)

_LARGEST_MINOR = 100_000_000
_Actor = Annotated[
    Annotated[str, Field(max_length=200, pattern=NOT_BLANK), Plain] | None,
    Field(
        description="Who holds the key, if several do. It is recorded; the key is what is checked"
    ),
]


class NewAdjustment(BaseModel):
    """Money to be given (`credit`) or taken (`debit`), in the wallet's currency.

    Against `adjustments` to put something right, against `goodwill` to give something away.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "direction": "credit",
                    "amount_minor": 2500,
                    "currency": "gbp",
                    "account": "goodwill",
                    "reason": "An afternoon of dropped calls, ticket 4711",
                    "actor": "Ann",
                },
                {
                    "direction": "debit",
                    "amount_minor": 1200,
                    "currency": "gbp",
                    "reason": "Credited twice by hand on 2 November",
                    "allow_below_limit": True,
                },
            ]
        },
    )

    direction: Direction
    amount_minor: StrictInt = Field(ge=1, le=_LARGEST_MINOR)
    currency: Currency
    reason: Text = Field(description="The organisation sees it, and so does Temporal")
    account: Literal[Account.ADJUSTMENTS, Account.GOODWILL] = Account.ADJUSTMENTS
    allow_below_limit: StrictBool = Field(
        default=False, description="Whether a debit may go below the debt limit"
    )
    actor: _Actor = None

    @model_validator(mode="after")
    def _goodwill_is_given(self) -> Self:
        if self.account is Account.GOODWILL and self.direction is Direction.DEBIT:
            raise ValueError("goodwill is given; take with the account adjustments")
        return self


class NewDecision(BaseModel):
    """Why somebody approves or rejects."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"note": "Checked against ticket 4711", "actor": "Bob"}]},
    )

    note: Text
    actor: _Actor = None


@router.post(
    "/organizations/{org_id}/adjustments",
    status_code=201,
    response_model=Adjustment,
    responses={
        202: {"model": Adjustment, "description": "It waits for a second operator"},
        409: described("The Idempotency-Key was used for something else, or is in use"),
        **documented(400, 404),
    },
)
async def create(
    org_id: Id, new: NewAdjustment, key: Operator, once: ActsOnce, request: Request
) -> Response:
    """Give or take. Read `state`: `applied`, or `refused` at the debt limit with nothing posted.

    Above a set amount it is 202 and `pending`, until an operator with another key approves it.
    """
    services = Services.of(request)

    async def act() -> Answer:
        needs_approval = new.amount_minor > services.rules.adjustment_approval_minor
        proposal = _proposal(org_id, new, key, once.key, needs_approval=needs_approval)
        adjustment = await _existing(services.engine, proposal)
        if adjustment is None or adjustment.state is AdjustmentState.PENDING:
            asked = proposal_of(adjustment) if adjustment else proposal
            adjustment = await adjust(services.temporal, asked)
        is_pending = adjustment.state is AdjustmentState.PENDING
        return idempotency.answer(202 if is_pending else 201, adjustment)

    return await once.answer(new, act)


@router.get("/organizations/{org_id}/adjustments", responses=documented(404))
async def list_all(
    org_id: Member,
    key: Reader,
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
) -> Page[Adjustment]:
    """List an organisation's adjustments, newest first. Who asked and decided, operators see."""
    await organizations.read(transaction, org_id)
    found = await adjustments.page(transaction, org_id, cursor, limit + 1)
    return page([_shown(one, key) for one in found], limit, lambda one: one.position)


@router.get("/adjustments/{adjustment_id}", responses=documented(404))
async def read(adjustment_id: Id, key: Reader, transaction: Transaction) -> Adjustment:
    """Read an adjustment; one of another organisation is as unknown as one that never was."""
    adjustment = await adjustments.read(transaction, adjustment_id)
    if not key.reaches(adjustment.org_id):
        raise NotFound(f"there is no adjustment {adjustment_id}")
    return _shown(adjustment, key)


def _shown(adjustment: Adjustment, key: ApiKey) -> Adjustment:
    return adjustment if key.is_operators else adjustment.for_organization()


@router.post("/adjustments/{adjustment_id}/approve", responses=documented(400, 404, 409))
async def approve(
    adjustment_id: Id, said: NewDecision, key: Operator, engine: Engine, temporal: Temporal
) -> Adjustment:
    """Approve, as another person than the one that asked. Approving twice is approving once.

    The key must be older than the request, and no maker of either key, however far back, may have
    made or rotated the other.

    Read `state`: what was approved may still be `refused` at the debt limit. The second time the
    posting is a `duplicate`, which names the entry.
    """
    return await _decide(engine, temporal, adjustment_id, ApprovalVerdict.APPROVED, said, key)


@router.post("/adjustments/{adjustment_id}/reject", responses=documented(400, 404, 409))
async def reject(
    adjustment_id: Id, said: NewDecision, key: Operator, engine: Engine, temporal: Temporal
) -> Adjustment:
    """Reject; whoever asked may take it back so. Rejecting twice is rejecting once."""
    return await _decide(engine, temporal, adjustment_id, ApprovalVerdict.REJECTED, said, key)


async def _decide(  # noqa: PLR0917
    engine: AsyncEngine,
    temporal: Client,
    adjustment_id: str,
    verdict: ApprovalVerdict,
    said: NewDecision,
    key: ApiKey,
) -> Adjustment:
    async with engine.connect() as connection:
        adjustment = await adjustments.read(connection, adjustment_id)
        wallet = await wallets.wallet_of(connection, adjustment.org_id)
        is_pending = adjustment.state is AdjustmentState.PENDING
        if is_pending and verdict is ApprovalVerdict.APPROVED:
            await require_another_person(connection, adjustment, key)
    adjustment = asked_again(adjustment, wallet.balance)
    if is_pending:
        adjustment = await decide(temporal, proposal_of(adjustment), verdict, _word(said, key))
    if not agrees(adjustment.state, verdict):
        raise AlreadyDecided(f"the adjustment is {adjustment.state}")
    return adjustment


async def _existing(engine: AsyncEngine, proposal: Proposal) -> Adjustment | None:
    """Find what was made of the same request; the key decides, for ever, what it was for.

    Raise NotFound, CurrencyMismatch and Conflict.
    """
    async with engine.connect() as connection:
        wallet = await wallets.wallet_of(connection, proposal.org_id)
        found = await adjustments.find(connection, proposal.adjustment_id)
    if wallet.currency is not proposal.amount.currency:
        raise CurrencyMismatch(f"the wallet of {wallet.org_id} is in {wallet.currency}")
    if found is not None and not asks_the_same(proposal, found):
        raise Conflict("this Idempotency-Key was used for another adjustment")
    return found and asked_again(found, wallet.balance)


def _proposal(
    org_id: str, new: NewAdjustment, key: ApiKey, idempotency_key: str, *, needs_approval: bool
) -> Proposal:
    return Proposal(
        adjustment_id=adjustment_id(key.caller, idempotency_key),
        org_id=org_id,
        direction=new.direction,
        amount=Money(new.amount_minor, new.currency),
        account=new.account,
        reason=new.reason,
        allow_below_limit=new.allow_below_limit,
        needs_approval=needs_approval,
        requested_by=Who(key.key_id, key.label, new.actor),
    )


def _word(said: NewDecision, key: ApiKey) -> Word:
    return Word(Who(key.key_id, key.label, said.actor), said.note)
