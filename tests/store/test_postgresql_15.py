"""The oldest PostgreSQL that is supported, from its first migration to the main story."""

from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.postgres import EmbeddedPostgres
from settings import WorkerSettings
from store.database import engine as store_engine
from store.database.migrate import upgrade
from store.schema import metadata
from tests.support import debian, main_story
from tests.support.stand_ins import StripeStandIn
from tests.support.systems import a_system

TEXTS = {
    '{"data": {"object": {}}}': True,
    " 1 ": True,
    "": False,
    "{": False,
    '"\\u0000"': False,
    '"\\ud800"': False,
    '{"amount": 1e9999999999}': False,
}


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPostgres]:
    programs, state = debian.postgresql_15(), tmp_path_factory.mktemp("fifteen")
    async with EmbeddedPostgres(state, programs=programs) as running:
        yield running


@pytest.fixture(scope="module")
async def fifteen(server: EmbeddedPostgres) -> AsyncIterator[AsyncEngine]:
    engine = store_engine.connect(server.url(), application_name="tests")
    await upgrade(engine)
    yield engine
    await engine.dispose()


async def test_the_migrations_make_the_tables_that_the_code_knows(fifteen: AsyncEngine) -> None:
    async with fifteen.connect() as connection:
        version = await connection.scalar(text("SELECT current_setting('server_version_num')"))
        assert str(version).startswith("15")
        found = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
    assert found == []


async def test_what_is_json_is_told_apart_as_by_a_newer_server(
    fifteen: AsyncEngine, engine: AsyncEngine
) -> None:
    for one in (fifteen, engine):
        await tells_json_apart(one)


async def tells_json_apart(engine: AsyncEngine) -> None:
    asked = text("SELECT given, is_jsonb(given) FROM unnest(CAST(:texts AS text[])) AS given")
    async with engine.connect() as connection:
        rows = (await connection.execute(asked, {"texts": list(TEXTS)})).all()
        assert await connection.scalar(text("SELECT is_jsonb(NULL)")) is None
    assert {row.given: row.is_jsonb for row in rows} == TEXTS


async def test_the_main_story_is_as_on_a_newer_one(
    server: EmbeddedPostgres, fifteen: AsyncEngine, settings: WorkerSettings, stripe: StripeStandIn
) -> None:
    async with a_system(settings, server.url()) as api:
        await main_story.is_passed(api, stripe)
