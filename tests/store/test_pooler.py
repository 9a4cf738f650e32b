"""Behind a real PgBouncer in transaction mode, where each transaction may have another session."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from store.database import engine as store_engine
from store.database import session, writing
from store.database.session import Pooler
from store.database.writing import NotWritable
from tests.support.pgbouncer import PgBouncer
from tests.support.systems import url_of

Connect = Callable[..., AsyncEngine]
# The most that psycopg executes of a statement before it prepares it is five.
OFTEN = 20
SHOWN = "SELECT current_setting('statement_timeout')"
OTHERS_END = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""
READ_ONLY = "ALTER ROLE CURRENT_USER IN DATABASE {database} {change} default_transaction_read_only"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that connects to a URL, as behind a pooler unless it is told otherwise."""
    async with AsyncExitStack() as engines:

        def make(url: str, pooler: Pooler = Pooler.TRANSACTION) -> AsyncEngine:
            engine = store_engine.connect(url, application_name="tests", pooler=pooler)
            engines.push_async_callback(engine.dispose)
            return engine

        yield make


async def run(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement))


async def test_a_statement_can_be_executed_in_whatever_session_the_pooler_lends(
    pooler: PgBouncer, engine_apart: AsyncEngine, connect: Connect
) -> None:
    """Each is lent the session that the other one had, with what that one has prepared in it."""
    clients = [connect(pooler.url_of(engine_apart)) for _ in range(2)]
    lent: list[set[int]] = [set(), set()]
    asked = [text(f"SELECT {what} + CAST(:number AS integer), pg_backend_pid()") for what in (0, 1)]
    for number in range(OFTEN):
        async with AsyncExitStack() as transactions:
            for client in (number % 2, 1 - number % 2):
                begun = await transactions.enter_async_context(clients[client].begin())
                said, pid = (await begun.execute(asked[client], {"number": number})).one()
                assert said == client + number
                lent[client].add(pid)
    assert lent[0] == lent[1]
    assert len(lent[0]) == 2


async def test_an_engine_beside_another_knows_of_its_pooler(
    pooler: PgBouncer, engine_apart: AsyncEngine, connect: Connect
) -> None:
    beside = store_engine.beside(
        connect(pooler.url_of(engine_apart)), application_name="tests", pool_size=1
    )
    async with beside.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await beside.dispose()


async def test_without_the_setting_statements_are_prepared(
    engine_apart: AsyncEngine, connect: Connect
) -> None:
    async with connect(url_of(engine_apart), Pooler.NONE).connect() as connection:
        for _ in range(OFTEN):
            await connection.execute(text("SELECT count(*) FROM wallets"))
        kept = text("SELECT count(*) FROM pg_prepared_statements")
        assert await connection.scalar(kept) == 1


async def test_without_the_setting_the_log_says_why_the_pooler_refuses_and_says_it_once(
    pooler: PgBouncer, engine_apart: AsyncEngine, connect: Connect
) -> None:
    direct = connect(pooler.url_of(engine_apart), Pooler.NONE)
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(OperationalError):
                await run(direct, "SELECT 1")
    [line] = logs
    assert "unsupported startup parameter: options" in line["reason"]


async def test_what_sessions_cannot_begin_with_is_on_the_role_and_its_lack_is_named(
    pooler: PgBouncer, engine_apart: AsyncEngine, connect: Connect
) -> None:
    behind = connect(pooler.url_of(engine_apart))
    async with behind.connect() as connection:
        with pytest.raises(session.Unset, match=r"statement_timeout.*RECONNECT"):
            await session.require(connection)
    async with behind.begin() as connection:
        assert await session.put_on_role(connection) == "postgres"
    await pooler.opens_anew()
    async with behind.connect() as connection:
        await session.require(connection)
    other = await psycopg.AsyncConnection.connect(url_of(engine_apart))
    async with other:
        assert await (await other.execute(SHOWN)).fetchone() == ("20s",)


async def test_a_session_that_has_its_own_settings_lacks_none(engine_apart: AsyncEngine) -> None:
    async with engine_apart.connect() as connection:
        await session.require(connection)


async def test_what_the_pooler_says_of_a_server_that_was_read_only_is_not_believed(
    pooler: PgBouncer, engine_apart: AsyncEngine, connect: Connect
) -> None:
    """PgBouncer goes on saying what the first session of a database said when it began."""
    database = str(engine_apart.url.database)
    await run(engine_apart, READ_ONLY.format(database=database, change="SET") + " = on")
    behind = connect(pooler.url_of(engine_apart))
    async with behind.connect() as connection:
        with pytest.raises(NotWritable, match="read-only"):
            await writing.require(connection)
    with pytest.raises(OperationalError):
        await run(behind, "UPDATE wallets SET balance_minor = 0")
    await run(engine_apart, READ_ONLY.format(database=database, change="RESET"))
    await run(engine_apart, OTHERS_END)
    await behind.dispose()
    await run(behind, "UPDATE wallets SET balance_minor = 0")
