"""Auto-recharge: an organisation's settings, and how its recharge stands."""

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from api.dependencies import (
    FullMember,
    Id,
    Key,
    KeyFirst,
    Member,
    Operator,
    StartsWork,
    Temporal,
    Transaction,
    by,
)
from api.http.fields import Text
from api.http.problems import described, documented
from api.routes.parked import said_by
from api.services import Services
from billing.admin_log import AdminAction, AdminChange, caps_changed
from billing.organizations import ApiKey
from billing.payments.return_urls import require_allowed
from billing.platform_rules import PlatformRules
from billing.recharges.history import (
    DEFAULT_CHARGE_MINOR,
    DEFAULT_THRESHOLD_MINOR,
    LARGEST_CHARGE_CAP_MINOR,
    LARGEST_CHARGE_MINOR,
    LARGEST_DAY_CAP_MINOR,
    SMALLEST_CHARGE_MINOR,
    SMALLEST_THRESHOLD_MINOR,
    CardCaps,
    RechargeSettings,
)
from billing.recharges.standing import RechargeStanding, shown
from processes import recharges as recharge_process
from store.alerts import changes
from store.ledger import wallets
from store.recharges import recharge_settings, recharges

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}/auto-recharge",
    tags=["auto-recharge"],
    responses=documented(401, 403, 404, 422, 503),
)

_MOST_A_MONTH = 1_000
_Charge = Annotated[StrictInt, Field(ge=SMALLEST_CHARGE_MINOR, le=LARGEST_CHARGE_MINOR)]
_CapInMoney = Annotated[
    StrictInt | None,
    Field(ge=SMALLEST_CHARGE_MINOR, le=1_000_000_000, description="Minor units; null is no cap"),
]
_CapInCount = Annotated[
    StrictInt | None, Field(ge=1, le=_MOST_A_MONTH, description="Charges; null is no cap")
]


class WantedRecharge(BaseModel):
    """When to charge the saved card, and how much, in minor units of the wallet's currency.

    `refill_to_minor` is the balance to come back to, and replaces `amount_minor`. What waits for
    money is paid by the same charge, so it may be larger. Days and months are those of UTC. If the
    bank wants the customer to confirm a charge, the page for that leads back to `return_url`.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "enabled": True,
                    "threshold_minor": 500,
                    "amount_minor": 5000,
                    "max_minor_per_month": 50_000,
                    "return_url": "https://app.example.com/wallet",
                },
                {"enabled": True, "threshold_minor": 1000, "refill_to_minor": 10_000},
                {"enabled": False},
            ]
        },
    )

    enabled: StrictBool
    threshold_minor: StrictInt = Field(
        default=DEFAULT_THRESHOLD_MINOR,
        ge=SMALLEST_THRESHOLD_MINOR,
        le=LARGEST_CHARGE_MINOR,
        description="Below this balance the card is charged",
    )
    amount_minor: _Charge = DEFAULT_CHARGE_MINOR
    refill_to_minor: _Charge | None = None
    max_per_day: _CapInCount = 10
    max_per_month: _CapInCount = 100
    max_minor_per_day: _CapInMoney = None
    max_minor_per_month: _CapInMoney = None
    return_url: str | None = Field(
        default=None, max_length=2000, description="On one of the origins that are allowed"
    )

    @model_validator(mode="after")
    def _is_an_aim(self) -> Self:
        if self.refill_to_minor is not None and self.refill_to_minor < self.threshold_minor:
            raise ValueError("refill_to_minor must not be below threshold_minor")
        return self


class NewCaps(BaseModel):
    """What a card of this organisation is charged without a person, at once and in a day (UTC).

    In minor units of the wallet's currency; with who says so, and why.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"charge_minor": 80_000, "day_minor": 200_000, "note": "Contract, ticket 4711"}
            ]
        },
    )

    charge_minor: StrictInt = Field(ge=SMALLEST_CHARGE_MINOR, le=LARGEST_CHARGE_CAP_MINOR)
    day_minor: StrictInt = Field(ge=SMALLEST_CHARGE_MINOR, le=LARGEST_DAY_CAP_MINOR)
    note: Text

    @model_validator(mode="after")
    def _is_a_charge_a_day(self) -> Self:
        if self.day_minor < self.charge_minor:
            raise ValueError("day_minor must not be below charge_minor")
        return self


@router.get("")
async def read(request: Request, org_id: Member, transaction: Transaction) -> RechargeStanding:
    """Read what was asked for, and where it stands: charging, cooling down, suspended and why."""
    return await _standing(transaction, org_id, Services.of(request).rules)


@router.put(
    "",
    dependencies=[StartsWork],
    responses={**documented(400), 409: described("There is no saved card (`no_saved_card`)")},
)
async def configure(
    request: Request, org_id: FullMember, wanted: WantedRecharge, key: Key, temporal: Temporal
) -> RechargeStanding:
    """Switch it on or off, or change it; a wallet that is short by now is recharged at once.

    Refused without a saved card: a checkout with `save_card` saves one. The same again also has
    another card looked for, and tried.
    """
    services = Services.of(request)
    if wanted.return_url is not None:
        require_allowed(wanted.return_url, services.rules.checkout_return_origins)
    async with services.engine.connect() as connection:
        await wallets.wallet_of(connection, org_id)
    if wanted.enabled:
        await recharge_process.require_card(temporal, org_id)
    async with services.engine.begin() as connection:
        await wallets.lock(connection, [org_id])
        settings = RechargeSettings(**wanted.model_dump())
        before = await recharge_settings.read(connection, org_id)
        await recharge_settings.configure(connection, org_id, settings)
        action = AdminAction.AUTO_RECHARGE_CHANGED
        change = AdminChange(by(key), action, org_id, org_id, asdict(before), asdict(settings))
        await changes.record(connection, change)
    await recharge_process.look_again(temporal, org_id, "auto-recharge was configured")
    async with services.engine.connect() as connection:
        return await _standing(connection, org_id, services.rules)


@router.put("/caps", responses=documented(400))
async def set_caps(
    request: Request, org_id: Id, new: NewCaps, key: Operator, temporal: Temporal
) -> RechargeStanding:
    """Raise or lower the caps of one organisation's card; what waited above them looks again."""
    said = CardCaps(new.charge_minor, new.day_minor, said_by(key, new.note), _now())
    return await _cap(request, org_id, said, key, temporal)


@router.delete("/caps")
async def remove_caps(
    request: Request, org_id: Id, key: Operator, temporal: Temporal
) -> RechargeStanding:
    """Have the platform's caps hold for this organisation again."""
    said = CardCaps(None, None, said_by(key, "back to the platform's caps"), _now())
    return await _cap(request, org_id, said, key, temporal)


async def _cap(
    request: Request, org_id: str, said: CardCaps, key: ApiKey, temporal: Client
) -> RechargeStanding:
    services = Services.of(request)
    async with services.engine.begin() as connection:
        wallet = await wallets.wallet_of(connection, org_id)
        before = await recharge_settings.set_caps(connection, org_id, said)
        await changes.record(connection, caps_changed(by(key), org_id, before, said))
    if wallet.recharge_below_minor is not None:
        await recharge_process.look_again(temporal, org_id, "the caps of the card were changed")
    async with services.engine.connect() as connection:
        return await _standing(connection, org_id, services.rules)


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


async def _standing(
    connection: AsyncConnection, org_id: str, rules: PlatformRules
) -> RechargeStanding:
    wallet = await wallets.wallet_of(connection, org_id)
    now = _now()
    return shown(await recharges.history(connection, wallet, now), now, rules)
