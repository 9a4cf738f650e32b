"""Somebody's prices are not everybody's: a new database has none, and an old one keeps its own."""

import pytest
from sqlalchemy import delete, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallState
from billing.ledger.money import Currency
from billing.tariffs import examples
from store.calls import calls
from store.database import migrate
from store.schema import sms_tariffs as sms_prices
from store.schema import tariffs
from store.tariffs import call_tariffs, sms_tariffs
from tests.conftest import NewDatabase
from tests.support.factories import an_assistant, an_organization, balance_of, ended_call
from tests.support.migrations import migrate_to
from tests.support.old_version import LAST_MIGRATION

PRICES = "SELECT (SELECT count(*) FROM tariffs), (SELECT count(*) FROM sms_tariffs)"


async def prices_in(engine: AsyncEngine) -> tuple[int, int]:
    async with engine.connect() as connection:
        calls_, messages = (await connection.execute(text(PRICES))).one()
        return calls_, messages


async def test_a_new_database_charges_nothing_by_a_price_that_nobody_set(
    new_database: NewDatabase,
) -> None:
    engine = await new_database()
    await migrate.upgrade(engine)
    assert await prices_in(engine) == (0, 0)
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    async with engine.begin() as connection:
        [bill] = await calls.charge(connection, [ended_call(assistant)])
    assert bill.state is CallState.NO_TARIFF
    assert await balance_of(engine, org_id) == 1000
    async with engine.begin() as connection:
        await call_tariffs.add(connection, examples.CALLS[0])
        await sms_tariffs.add(connection, examples.MESSAGES[0])
    for prices in (tariffs, sms_prices):
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError, match="append-only"):
                await connection.execute(delete(prices))


@pytest.mark.parametrize("last", [LAST_MIGRATION, "0024"])
async def test_a_database_that_is_there_keeps_its_prices_also_if_nobody_was_charged_by_them(
    new_database: NewDatabase, last: str
) -> None:
    engine = await new_database()
    await migrate_to(engine, last)
    await migrate.upgrade(engine)
    assert await prices_in(engine) == (2, 24)  # each of an SMS also as one of an MMS
    async with engine.begin() as connection:
        assert await call_tariffs.currencies_without_default(connection) == []
        assert await sms_tariffs.currencies_without_default(connection) == []
        new = [await call_tariffs.add(connection, one) for one in examples.CALLS]
        new += [await sms_tariffs.add(connection, one) for one in examples.MESSAGES]
    assert not any(new)  # the examples are the very same


async def test_a_price_to_come_and_an_organisation_s_own_are_no_default(
    new_database: NewDatabase,
) -> None:
    engine = await new_database()
    await migrate.upgrade(engine)
    org_id = await an_organization(engine)
    statement = text(
        "INSERT INTO tariffs VALUES ('own', :org_id, 'gbp', 1, 1, 0, 1, 'gbp', '2020-01-01'),"
        " ('late', NULL, 'gbp', 1, 1, 0, 1, 'gbp', 'infinity'),"
        " ('now', NULL, 'usd', 1, 1, 0, 1, 'usd', now())"
    )
    async with engine.begin() as connection:
        await connection.execute(statement, {"org_id": org_id})
        assert await call_tariffs.currencies_without_default(connection) == [Currency.GBP]
