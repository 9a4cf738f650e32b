"""What `callwallet setup` says about a database."""

import pytest
from sqlalchemy import update

from billing.recharges.history import RechargeSettings
from devstack.stack import Stack
from store.recharges import recharge_settings
from store.schema import recharge_settings as settings_table
from tests.conftest import NewDatabase
from tests.support.command_line import callwallet
from tests.support.factories import an_organization


@pytest.mark.parametrize(
    ("top_up_of_unknown_type", "setting", "are"),
    [
        (0, "auto", "ignored"),
        (100, "auto", "credited"),
        (100, "ignored", "ignored"),
        (0, "credited", "credited"),
    ],
)
async def test_setup_says_what_becomes_of_payments_without_a_type(
    stack: Stack,
    migrated_database: NewDatabase,
    *,
    top_up_of_unknown_type: int,
    setting: str,
    are: str,
) -> None:
    engine = await migrated_database()
    await an_organization(engine, top_up_of_unknown_type)
    database_url = stack.postgres.url(str(engine.url.database))
    given = {**stack.settings(), "DATABASE_URL": database_url, "UNTYPED_PAYMENTS": setting}
    ended = await callwallet({**given, "LOG_JSON": "true"}, "setup")
    assert ended.status == 0
    assert f'"are": "{are}", "by": "UNTYPED_PAYMENTS={setting}"' in ended.output
    await engine.dispose()


async def test_setup_lists_whose_cards_keep_caps_above_those_by_default(
    stack: Stack, migrated_database: NewDatabase
) -> None:
    engine = await migrated_database()
    dear, usual = await an_organization(engine), await an_organization(engine)
    async with engine.begin() as connection:
        for org_id, minor in ((dear, 80_000), (usual, 5000)):
            await recharge_settings.configure(connection, org_id, RechargeSettings(enabled=True))
            kept = {"kept_charge_minor": minor, "kept_day_minor": minor}
            await connection.execute(
                update(settings_table).where(settings_table.c.org_id == org_id).values(kept)
            )
    given = {**stack.settings(), "DATABASE_URL": stack.postgres.url(str(engine.url.database))}
    ended = await callwallet({**given, "LOG_JSON": "true"}, "setup")
    assert f'"org_id": "{dear}", "charge_minor": 80000, "day_minor": 80000' in ended.output
    assert usual not in ended.output
    await engine.dispose()
