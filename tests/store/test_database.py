"""The schema: what the migrations make is what the code knows, and on anything else it refuses."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, Table, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from store.database import migrate
from store.database.migrate import UnknownSchema
from store.database.server import TooOld
from store.schema import metadata
from tests.conftest import NewDatabase
from tests.support.old_server import is_made_old

UPGRADE = """
import asyncio, sys
from store.database import engine, migrate

asyncio.run(migrate.upgrade(engine.connect(sys.argv[1], application_name="tests")))
"""


def differences(connection: Connection) -> list[Any]:
    options = {"compare_type": True, "compare_server_default": True}
    found: list[Any] = compare_metadata(
        MigrationContext.configure(connection, opts=options), metadata
    )
    return found


def checks_and_conditions(connection: Connection) -> dict[str, set[str]]:
    """What alembic does not compare: check constraints, and the conditions of partial indexes."""
    inspector = inspect(connection)
    return {
        table: {str(check["name"]) for check in inspector.get_check_constraints(table)}
        | {
            str(index["name"])
            for index in inspector.get_indexes(table)
            if "postgresql_where" in index["dialect_options"]
        }
        for table in metadata.tables
    }


def declared(table: Table) -> set[str]:
    checks = {str(one.name) for one in table.constraints if isinstance(one, CheckConstraint)}
    partial = {
        str(one.name)
        for one in table.indexes
        if one.dialect_options["postgresql"]["where"] is not None
    }
    return checks | partial


async def set_revision(engine: AsyncEngine, revision: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision}
        )


async def test_the_migrations_make_exactly_the_tables_that_the_code_knows(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        found = await connection.run_sync(checks_and_conditions)
    assert found == {name: declared(table) for name, table in metadata.tables.items()}


async def test_migrating_again_changes_nothing(engine_apart: AsyncEngine) -> None:
    await migrate.upgrade(engine_apart)
    async with engine_apart.connect() as connection:
        await migrate.require_current(connection)
        tariffs = await connection.scalar(text("SELECT count(*) FROM tariffs"))
    assert tariffs == 2


async def test_deployments_that_migrate_at_once_migrate_once(new_database: NewDatabase) -> None:
    engine = await new_database()
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    deployments = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", UPGRADE, url, stderr=PIPE)
        for _ in range(3)
    ]
    for deployment in deployments:
        _, errors = await deployment.communicate()
        assert deployment.returncode == 0, errors.decode()
    async with engine.connect() as connection:
        await migrate.require_current(connection)


async def test_a_database_that_was_never_migrated_is_refused(new_database: NewDatabase) -> None:
    engine = await new_database()
    async with engine.connect() as connection:
        with pytest.raises(UnknownSchema, match="at revision None"):
            await migrate.require_current(connection)


@pytest.mark.parametrize("revision", ["0000", "9999"])
async def test_an_older_and_a_newer_schema_are_refused(
    engine_apart: AsyncEngine, revision: str
) -> None:
    await set_revision(engine_apart, revision)
    async with engine_apart.connect() as connection:
        with pytest.raises(UnknownSchema, match=f"at revision {revision}, this code needs"):
            await migrate.require_current(connection)


async def test_an_older_server_is_refused_by_name_before_anything_is_made_in_it(
    new_database: NewDatabase,
) -> None:
    engine = await new_database()
    await is_made_old(engine)
    with pytest.raises(TooOld, match=r"PostgreSQL 14\.11 is too old: .* needs 15 or newer"):
        await migrate.upgrade(engine)
    async with engine.connect() as connection:
        with pytest.raises(TooOld):
            await migrate.require_current(connection)
        assert await connection.run_sync(lambda sync: inspect(sync).get_table_names()) == []
