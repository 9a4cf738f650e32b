"""Who is recharged when the caps of cards come keeps what their own settings allow."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.platform_rules import PlatformRules
from billing.recharges.history import Caps, RechargeSettings
from store.ledger import wallets
from store.recharges import recharge_settings, recharges
from tests.support.factories import NOON, an_organization
from tests.support.migrations import migrate_again

_UNDO = """
ALTER TABLE recharge_settings DROP COLUMN kept_charge_minor, DROP COLUMN kept_day_minor
"""


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"amount_minor": 80_000}, Caps(80_000, 800_000)),
        ({"amount_minor": 80_000, "max_per_day": 2}, Caps(80_000, 160_000)),
        ({"amount_minor": 80_000, "max_minor_per_day": 90_000}, Caps(80_000, 90_000)),
        ({"amount_minor": 80_000, "max_per_day": None}, Caps(80_000, 8_000_000)),
        (
            {"amount_minor": 99_999_999, "max_per_day": None, "max_per_month": None},
            Caps(99_999_999, 99_999_999_000),
        ),
        ({"refill_to_minor": 90_000, "max_per_day": 1}, Caps(90_500, 90_500)),
        ({"amount_minor": 80_000, "enabled": False}, Caps()),
    ],
)
async def test_an_organisation_keeps_its_own_amount_or_refill_a_charge_and_as_many_as_it_allows(
    engine_apart: AsyncEngine, settings: dict[str, Any], kept: Caps
) -> None:
    org_id = await an_organization(engine_apart)
    async with engine_apart.begin() as connection:
        wanted = RechargeSettings(**{"enabled": True, **settings})
        await recharge_settings.configure(connection, org_id, wanted)
        await connection.execute(text(_UNDO))
    await migrate_again(engine_apart, "0020")
    async with engine_apart.begin() as connection:
        wallet = await wallets.wallet_of(connection, org_id)
        assert (await recharges.history(connection, wallet, NOON)).kept == kept
        listed = await recharge_settings.keeping_more(connection, PlatformRules())
        assert listed == ({org_id: kept} if kept != Caps() else {})
        await recharge_settings.configure(connection, org_id, RechargeSettings(enabled=True))
        assert (await recharges.history(connection, wallet, NOON)).kept == kept
