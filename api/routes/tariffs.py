"""Tariffs of calls: what a minute costs, from when on, for whom. They are only ever added."""

from decimal import Decimal
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt, model_validator

from api.dependencies import SEES_ALL, KeyFirst, Limit, Member, Operator, Temporal, Transaction, by
from api.http.fields import NAME, Moment, Number
from api.http.pages import After, Page, page
from api.http.problems import documented
from billing.alerts.admin_log import price_fell
from billing.errors import CurrencyMismatch
from billing.ledger.money import Currency
from billing.organizations import ApiKey
from billing.tariffs.price_fall import is_price_fall
from billing.tariffs.tariff import Tariff
from processes import alerts
from processes.tariffs import MOST_TOLD, tell_waiting
from store.alerts import changes
from store.database import clock
from store.ledger import wallets
from store.organizations import organizations
from store.tariffs import Price, TariffTable, call_tariffs

router = APIRouter(route_class=KeyFirst, tags=["tariffs"], responses=documented(401, 403, 422, 503))

_IS_THERE: dict[int | str, dict[str, Any]] = {
    200: {"model": Tariff, "description": "It is there already"}
}

Rate = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6), Number]
FxRate = Annotated[Decimal, Field(gt=0, max_digits=12, decimal_places=6), Number]
InEffect = Annotated[bool, Query(description="Only those that are in effect now")]
OfOrganization = Annotated[
    str | None, Query(pattern=NAME, description="Only those that apply to this organization")
]


class NewRate(BaseModel):
    """What all tariffs have. Without `org_id` it is a default, of all wallets in that currency.

    `fx_rate` turns `currency` into `wallet_currency`.
    """

    model_config = ConfigDict(extra="forbid")

    org_id: str | None = Field(default=None, pattern=NAME)
    currency: Currency
    fx_rate: FxRate
    wallet_currency: Currency
    effective_from: Moment = Field(description="From this moment on, with its offset")

    @model_validator(mode="after")
    def _converts(self) -> Self:
        if self.currency is self.wallet_currency and self.fx_rate != 1:
            raise ValueError("fx_rate is 1 where currency and wallet_currency are the same")
        return self


class NewTariff(NewRate):
    """A rate a minute in minor units of `currency`, of which as many may be fractions.

    Calls are charged by whole increments, and no call less than the minimum.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tariff_id": "acme-gbp-2026",
                    "org_id": "acme",
                    "currency": "usd",
                    "rate_minor_per_minute": "65",
                    "fx_rate": "0.79",
                    "wallet_currency": "gbp",
                    "effective_from": "2027-01-01T00:00:00Z",
                }
            ]
        }
    )

    tariff_id: str = Field(pattern=NAME)
    rate_minor_per_minute: Rate
    increment_seconds: StrictInt = Field(default=1, ge=1, le=3_600)
    minimum_minor: StrictInt = Field(default=0, ge=0, le=1_000_000)


async def add_price(
    table: TariffTable[Price],
    new: Price,
    key: ApiKey,
    transaction: Transaction,
    temporal: Temporal,
) -> int:
    """Add a price, and have what waited for one charged; return 201, or 200 if it was there.

    One that is much lower than the one before is told.

    Raise NotFound and CurrencyMismatch for whom it is not, Conflict and ChangesThePast.
    """
    await _require_wallet_in(transaction, new.org_id, new.wallet_currency)
    is_new = await table.add(transaction, new)
    is_told = is_new and await _note(table, new, key, transaction)
    waiting = await table.waiting(transaction, new, MOST_TOLD)
    await transaction.commit()
    if is_told:
        await alerts.deliver(temporal, "a price falls")
    await tell_waiting(temporal, table.id_of(new), waiting)
    return 201 if is_new else 200


async def _note(
    table: TariffTable[Price], new: Price, key: ApiKey, transaction: Transaction
) -> bool:
    """Write a new price into the book; return whether it is so low that people are told."""
    others, now = await table.of_all(transaction), await clock.now(transaction)
    is_told = is_price_fall(new, others, now)
    alert = price_fell(table.id_of(new), new.org_id, new.channel)
    await changes.record(
        transaction, table.added(new, by(key)), (lambda _: alert) if is_told else None
    )
    return is_told


async def list_prices(
    table: TariffTable[Price],
    transaction: Transaction,
    after: str | None,
    limit: int,
    org_id: str | None,
    *,
    in_effect: bool,
    **wanted: str | None,
) -> Page[Price]:
    """Read a page of prices by id, of those that have the `wanted` values of columns."""
    found = await table.page(
        transaction, after, limit + 1, org_id=org_id, in_effect=in_effect, **wanted
    )
    return page(found, limit, table.id_of)


async def _require_wallet_in(
    transaction: Transaction, org_id: str | None, currency: Currency
) -> None:
    """Check whom a tariff is for; raise NotFound and CurrencyMismatch."""
    if org_id is None:
        return
    wallet = await wallets.wallet_of(transaction, org_id)
    if wallet.currency is not currency:
        raise CurrencyMismatch(f"the wallet of {org_id} is in {wallet.currency}, not {currency}")


@router.post(
    "/v1/tariffs",
    status_code=201,
    responses=_IS_THERE | documented(400, 404, 409),
)
async def add(
    new: NewTariff, key: Operator, transaction: Transaction, temporal: Temporal, response: Response
) -> Tariff:
    """Add a tariff; calls that waited for one are charged. One that exists never changes.

    It begins in the future, or at a time of which nothing can have been charged, since no tariff
    was in effect. The same again is answered by 200, and tells the calls that wait again.
    """
    tariff = Tariff(**new.model_dump())
    response.status_code = await add_price(call_tariffs, tariff, key, transaction, temporal)
    return tariff


@router.get("/v1/tariffs", dependencies=[Depends(SEES_ALL)])
async def list_all(
    transaction: Transaction,
    org_id: OfOrganization = None,
    in_effect: InEffect = False,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[Tariff]:
    """List tariffs by id, those that begin in the future and those that are over included."""
    return await list_prices(call_tariffs, transaction, cursor, limit, org_id, in_effect=in_effect)


@router.get("/v1/organizations/{org_id}/tariffs", responses=documented(404))
async def list_of_organization(
    org_id: Member,
    transaction: Transaction,
    in_effect: InEffect = False,
    cursor: After = None,
    limit: Limit = 50,
) -> Page[Tariff]:
    """List an organisation's tariffs: its own, which come before the defaults, and the defaults."""
    await organizations.read(transaction, org_id)
    return await list_prices(call_tariffs, transaction, cursor, limit, org_id, in_effect=in_effect)
