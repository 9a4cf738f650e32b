"""Organisations and their wallets."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from api.dependencies import SEES_ALL, KeyFirst, Limit, Member, Operator, Transaction, by
from api.http.fields import Name
from api.http.pages import After, Page, page
from api.http.problems import documented
from api.services import Services
from billing.admin_log import AdminAction, AdminChange
from billing.ledger.money import Currency
from billing.ledger.wallet import DEBT_LIMIT_MINOR, Wallet
from billing.organizations import Organization
from store import debt_limits
from store.alerts import changes
from store.ledger import wallets
from store.organizations import organizations

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations",
    tags=["organizations"],
    responses=documented(401, 403, 422, 503),
)

_LARGEST_LIMIT_MINOR = 100_000_000
DebtLimitMinor = Annotated[
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
    debt_limit_minor: DebtLimitMinor = DEBT_LIMIT_MINOR


@router.post("", status_code=201, responses=documented(400, 409))
async def create(
    new: NewOrganization, key: Operator, transaction: Transaction, request: Request
) -> Organization:
    """Create an organisation and its wallet; the same again gives what exists.

    A debt limit that is above the usual by more than one person may give is 403.
    """
    organization, is_new = await organizations.create(
        transaction, new.org_id, new.name, new.currency, new.debt_limit_minor
    )
    if is_new:
        most_minor = Services.of(request).rules.debt_limit_approval_minor
        await debt_limits.require_within(transaction, new.debt_limit_minor, key, most_minor)
        after = {"currency": new.currency, "debt_limit_minor": new.debt_limit_minor}
        change = AdminChange(
            by(key), AdminAction.ORGANIZATION_MADE, new.org_id, new.org_id, after=after
        )
        await changes.record(transaction, change)
    return organization


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
