"""Organisations and their wallets."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from api.dependencies import OPERATES, SEES_ALL, Id, KeyFirst, Limit, Member, Temporal, Transaction
from api.http.fields import Name
from api.http.pages import After, Page, page
from api.http.problems import documented
from billing.ledger.money import Currency
from billing.ledger.wallet import DEBT_LIMIT_MINOR, Wallet
from billing.organizations import Organization
from processes import collections
from store.ledger import wallets
from store.organizations import organizations

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations",
    tags=["organizations"],
    responses=documented(401, 403, 422, 503),
)

_LARGEST_LIMIT_MINOR = 100_000_000
_DebtLimit = Annotated[
    StrictInt, Field(ge=0, le=_LARGEST_LIMIT_MINOR, description="Minor units below zero, at most")
]


class NewOrganization(BaseModel):
    """An organisation to be created, with an empty wallet in one currency."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"org_id": "acme", "name": "Acme Dental Group", "currency": "gbp"}]
        },
    )

    org_id: str = Field(
        default_factory=lambda: f"org_{uuid.uuid4().hex}",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        description="The platform's own id; made up if left out",
    )
    name: Name
    currency: Currency
    debt_limit_minor: _DebtLimit = DEBT_LIMIT_MINOR


class DebtLimit(BaseModel):
    """How far below zero a wallet may go."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"debt_limit_minor": 1000}]}
    )

    debt_limit_minor: _DebtLimit


@router.post("", status_code=201, dependencies=[Depends(OPERATES)], responses=documented(400, 409))
async def create(new: NewOrganization, transaction: Transaction) -> Organization:
    """Create an organisation and its wallet; the same again gives what exists."""
    return await organizations.create(
        transaction, new.org_id, new.name, new.currency, new.debt_limit_minor
    )


@router.get("", dependencies=[Depends(SEES_ALL)])
async def list_all(
    transaction: Transaction, cursor: After = None, limit: Limit = 50
) -> Page[Organization]:
    """List organisations by id."""
    found = await organizations.page(transaction, cursor, limit + 1)
    return page(found, limit, lambda one: one.org_id)


@router.get("/{org_id}", responses=documented(404))
async def read(org_id: Member, transaction: Transaction) -> Organization:
    """Read one organisation."""
    return await organizations.read(transaction, org_id)


@router.get("/{org_id}/wallet", responses=documented(404))
async def read_wallet(org_id: Member, transaction: Transaction) -> Wallet:
    """Read the balance and the limits; `balance_minor` is below zero for debt."""
    return await wallets.wallet_of(transaction, org_id)


@router.put(
    "/{org_id}/debt-limit", dependencies=[Depends(OPERATES)], responses=documented(400, 404)
)
async def set_debt_limit(
    org_id: Id, limit: DebtLimit, transaction: Transaction, temporal: Temporal
) -> Wallet:
    """Set the debt limit. Calls that waited and now fit are charged, oldest first."""
    wallet = await wallets.set_debt_limit(transaction, org_id, limit.debt_limit_minor)
    await transaction.commit()
    await collections.collect_waiting(temporal, org_id, "the debt limit was changed")
    return wallet
