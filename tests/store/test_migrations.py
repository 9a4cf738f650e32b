"""A migration takes no downtime: the version before it goes on with the tables that it leaves."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store.database import migrate
from tests.conftest import NewDatabase
from tests.support.migrations import to_revision

Columns = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Tables:
    """What code relies on: the columns of each table, and what each row is held to."""

    columns: Mapping[str, Columns]
    rules: Mapping[str, Mapping[str, str]]


def tables(connection: Connection) -> Tables:
    inspector = inspect(connection)
    names = inspector.get_table_names()
    return Tables(
        {
            table: {one["name"]: dict(one) for one in inspector.get_columns(table)}
            for table in names
        },
        {table: dict(rules_of(connection, table)) for table in names},
    )


def rules_of(connection: Connection, table: str) -> Iterator[tuple[str, str]]:
    """Checks, foreign keys and unique indexes, by name, with the columns in them."""
    inspector = inspect(connection)
    for check in inspector.get_check_constraints(table):
        yield str(check["name"]), check["sqltext"]
    for key in inspector.get_foreign_keys(table):
        yield str(key["name"]), " ".join(key["constrained_columns"])
    for index in inspector.get_indexes(table):
        if index["unique"]:
            yield str(index["name"]), " ".join(map(str, index["column_names"]))


def breaks(before: Tables, after: Tables) -> Iterator[str]:
    """What the version before, which reads and writes what was there, would stumble over."""
    for table, had in before.columns.items():
        has = after.columns.get(table, {})
        yield from (f"{table}.{name} is gone" for name in had.keys() - has.keys())
        for name, column in has.items():
            if str(column["type"]) != str(had.get(name, column)["type"]):
                yield f"{table}.{name} has another type"
            if must_be_written(column) and not (name in had and must_be_written(had[name])):
                yield f"{table}.{name} must be written"
        for rule, about in after.rules.get(table, {}).items():
            if rule not in before.rules[table] and set(re.findall(r"\w+", about)) & had.keys():
                yield f"{table} has the new rule {rule}"


def must_be_written(column: Mapping[str, Any]) -> bool:
    return not (column["nullable"] or column["default"] or column.get("identity"))


async def looked_at(engine: AsyncEngine, revision: str) -> Tables:
    async with engine.begin() as connection:
        await connection.run_sync(to_revision, revision)
        return await connection.run_sync(tables)


@pytest.fixture(scope="module")
async def connection(new_database: NewDatabase) -> AsyncIterator[AsyncConnection]:
    """To a migrated database; what a test does there is taken back."""
    engine = await new_database()
    await migrate.upgrade(engine)
    async with engine.connect() as connection:
        yield connection


async def test_each_migration_leaves_tables_that_the_version_before_can_use(
    new_database: NewDatabase,
) -> None:
    engine = await new_database()
    oldest, *later = reversed([one.revision for one in migrate._scripts().walk_revisions()])
    before = await looked_at(engine, oldest)
    for revision in later:
        after = await looked_at(engine, revision)
        assert list(breaks(before, after)) == [], revision
        before = after


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DROP TABLE alerts", "alerts.title is gone"),
        ("ALTER TABLE alerts DROP COLUMN title", "alerts.title is gone"),
        ("ALTER TABLE alerts RENAME COLUMN title TO head", "alerts.title is gone"),
        ("ALTER TABLE alerts ADD COLUMN author text NOT NULL", "alerts.author must be written"),
        ("ALTER TABLE alerts ALTER COLUMN org_id SET NOT NULL", "alerts.org_id must be written"),
        ("ALTER TABLE alerts ALTER COLUMN title TYPE varchar(9)", "alerts.title has another type"),
        (
            "ALTER TABLE alerts ADD CONSTRAINT short CHECK (length(title) < 9)",
            "alerts has the new rule short",
        ),
        ("CREATE UNIQUE INDEX single ON alerts (title)", "alerts has the new rule single"),
    ],
)
async def test_a_migration_that_would_stop_the_version_before_is_found_out(
    connection: AsyncConnection, statement: str, found: str
) -> None:
    assert found in await broken_by(connection, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE notes (note text NOT NULL)",
        "ALTER TABLE alerts ADD COLUMN author text",
        "ALTER TABLE alerts ADD COLUMN tries integer NOT NULL DEFAULT 0",
        "CREATE INDEX alerts_by_title ON alerts (title)",
    ],
)
async def test_a_migration_that_only_adds_stops_nobody(
    connection: AsyncConnection, statement: str
) -> None:
    assert await broken_by(connection, statement) == []


async def broken_by(connection: AsyncConnection, statement: str) -> list[str]:
    before = await connection.run_sync(tables)
    await connection.execute(text(statement))
    after = await connection.run_sync(tables)
    await connection.rollback()
    return list(breaks(before, after))
