"""What `callwallet setup` says about a database."""

from collections import Counter

import psycopg
import pytest
from sqlalchemy import make_url, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.calls.ended_reason import FreeEnding
from billing.recharges.history import RechargeSettings
from devstack.stack import Stack
from store.calls import calls, free_call_rules
from store.database import migrate, session
from store.recharges import recharge_settings
from store.schema import recharge_settings as settings_table
from store.tariffs import sms_tariffs
from tests.conftest import NewDatabase
from tests.support.command_line import Ended, callwallet, flat
from tests.support.factories import an_assistant, an_organization, ended_call, unique
from tests.support.old_server import is_made_old
from tests.support.pgbouncer import PgBouncer
from tests.support.systems import url_of

UNPRICED = "no price by default: they wait as no_tariff"
OPERATOR = ("--operator", "--label", "tests")
SHOW = "SELECT current_setting('{}')"


async def set_up(stack: Stack, engine: AsyncEngine, *options: str) -> Ended:
    given = {**stack.settings(), "DATABASE_URL": stack.postgres.url(str(engine.url.database))}
    ended = await callwallet({**given, "LOG_JSON": "true"}, "setup", *options)
    assert ended.status == 0, ended.said
    return ended


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
    assert f'"are": "{are}", "by": "UNTYPED_PAYMENTS={setting}"' in ended.said
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
    assert f'"org_id": "{dear}", "charge_minor": 80000, "day_minor": 80000' in ended.said
    assert usual not in ended.said
    await engine.dispose()


async def test_setup_says_what_has_no_price_and_sets_none_unless_asked(
    stack: Stack, new_database: NewDatabase
) -> None:
    engine = await new_database()
    said = (await set_up(stack, engine)).said
    routes = {"calls": "/v1/tariffs", "sms": "/v1/sms-tariffs", "mms": "/v1/sms-tariffs"}
    for what, route in routes.items():
        assert f'"of": "{what}", "wallets_in": ["gbp", "usd"], "add_one_by": "{route}"' in said
    assert said.count(UNPRICED) == 3
    for _ in range(2):
        said = (await set_up(stack, engine, "--example-tariffs")).said
        assert UNPRICED not in said
        assert "an example price was not added" not in said
    async with engine.connect() as connection:
        prices = await sms_tariffs.of_all(connection)
    counted = Counter(one.channel for one in prices)
    assert counted == {"sms": 12, "mms": 12, "whatsapp": 2, "rcs": 2}
    await engine.dispose()


async def test_what_waited_is_told_of_the_example_tariffs(
    stack: Stack, new_database: NewDatabase, temporal: Client
) -> None:
    engine = await new_database()
    await migrate.upgrade(engine)
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    async with engine.begin() as connection:
        await calls.charge(connection, [ended_call(assistant)])
    await set_up(stack, engine, "--example-tariffs")
    told = temporal.get_workflow_handle(f"collect/{org_id}/default-gbp-2020")
    assert (await told.describe()).workflow_type == "Collect"
    await engine.dispose()


async def test_example_tariffs_do_not_change_what_was_set_before(
    stack: Stack, migrated_database: NewDatabase
) -> None:
    """One of their ids is taken: it is said in a line, and the others are there."""
    engine = await migrated_database()
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text("UPDATE tariffs SET fx_rate = 0.8 WHERE tariff_id = 'default-gbp-2020'")
        )
    said = (await set_up(stack, engine, "--example-tariffs")).said
    assert '"price": "default-gbp-2020", "why": "tariff default-gbp-2020 exists with' in said
    assert said.count("an example price was not added") == 1


async def test_setup_makes_faults_of_vapi_free_from_now_on_or_no_longer(
    stack: Stack, migrated_database: NewDatabase
) -> None:
    engine = await migrated_database()
    given = {**stack.settings(), "DATABASE_URL": stack.postgres.url(str(engine.url.database))}
    kept = []
    for setting in ("true", "false"):
        ended = await callwallet(
            {**given, "VAPI_FAULTS_FREE": setting, "LOG_JSON": "true"}, "setup"
        )
        assert ended.status == 0, ended.said
        assert '"by": "provider_fault"' in ended.said
        async with engine.connect() as connection:
            rules = await free_call_rules.read(connection)
        kept += [rule for rule in rules if rule.ending is FreeEnding.PROVIDER_FAULT]
    begun, over = kept
    assert (begun.since, begun.until) == (over.since, None)
    assert over.until is not None
    await engine.dispose()


async def test_setup_refuses_a_server_that_is_too_old_by_name(
    stack: Stack, new_database: NewDatabase
) -> None:
    engine = await new_database()
    await is_made_old(engine)
    ended = await callwallet({**stack.settings(), "DATABASE_URL": url_of(engine)}, "setup")
    assert ended.status == 1
    assert "PostgreSQL 14.11 is too old: callwallet needs 15 or newer" in flat(ended)
    assert "Traceback" not in ended.said


async def test_setup_that_is_refused_says_why(stack: Stack) -> None:
    nowhere = {"DATABASE_URL": stack.postgres.url("nowhere"), "LOG_JSON": "true"}
    ended = await callwallet({**stack.settings(), **nowhere}, "setup")
    assert ended.status == 1
    assert 'database \\"nowhere\\" does not exist' in ended.said
    assert "PostgreSQL does not answer" in ended.said
    assert "Traceback" not in ended.said


async def test_setup_as_the_owner_makes_the_service_and_sets_the_sessions_of_that_role(
    stack: Stack, new_database: NewDatabase
) -> None:
    engine, name = await new_database(), unique("service")
    served = make_url(url_of(engine)).set(username=name, password="its-own")
    given = {
        **stack.settings(),
        "DATABASE_URL": served.render_as_string(hide_password=False),
        "DATABASE_POOLER": "transaction",
        "LOG_JSON": "true",
    }
    ended = await callwallet({**given, "DATABASE_OWNER_URL": url_of(engine)}, "setup")
    assert ended.status == 0, ended.said
    assert f'"role": "{name}", "settings"' in ended.said
    assert "may do more than it needs" not in ended.said
    assert "its-own" not in ended.said + ended.output
    assert (await callwallet(given, "keys", "create", *OPERATOR)).status == 0
    for who, timeout in ((served, "20s"), (engine.url, "0")):
        url = who.set(drivername="postgresql").render_as_string(hide_password=False)
        plain = await psycopg.AsyncConnection.connect(url)
        async with plain:
            shown = await plain.execute(SHOW.format("statement_timeout").encode())
            assert await shown.fetchone() == (timeout,)
    await engine.dispose()


async def test_setup_refuses_two_urls_of_one_role_and_says_what_one_role_may(
    stack: Stack, new_database: NewDatabase
) -> None:
    engine = await new_database()
    url = url_of(engine)
    given = {**stack.settings(), "DATABASE_URL": url, "LOG_JSON": "true"}
    ended = await callwallet({**given, "DATABASE_OWNER_URL": url}, "setup")
    assert ended.status == 1
    assert "must name two roles" in flat(ended)
    ended = await callwallet({**given, "DATABASE_OWNER_URL": ""}, "setup")
    assert ended.status == 0, ended.said
    assert '"problems": ["the database role is a superuser"]' in ended.said
    await engine.dispose()


async def test_setup_through_a_pooler_migrates_and_puts_the_settings_of_sessions_on_the_role(
    stack: Stack, new_database: NewDatabase, pooler: PgBouncer
) -> None:
    engine = await new_database()
    behind = {"DATABASE_URL": pooler.url_of(engine), "DATABASE_POOLER": "transaction"}
    ended = await callwallet({**stack.settings(), **behind, "LOG_JSON": "true"}, "setup")
    assert ended.status == 0, ended.said
    assert '"role": "postgres"' in ended.said
    assert "RECONNECT" in ended.said
    await pooler.opens_anew()
    ended = await callwallet({**stack.settings(), **behind}, "keys", "create", *OPERATOR)
    assert ended.status == 0
    plain = await psycopg.AsyncConnection.connect(url_of(engine))
    async with plain:
        for name, value in session.SETTINGS.items():
            shown = await plain.execute(SHOW.format(name).encode())
            assert await shown.fetchone() == (value,)
