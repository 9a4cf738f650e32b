"""Connections: what is refused is logged with its reason, and what has become read-only is left."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import URL, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from devstack.stack import Stack
from store.database import engine as store_engine
from tests.support.factories import unique

Connect = Callable[[URL], AsyncEngine]
PID = text("SELECT pg_backend_pid()")


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with AsyncExitStack() as engines:

        def make(url: URL) -> AsyncEngine:
            whole = url.set(drivername="postgresql").render_as_string(hide_password=False)
            engine = store_engine.connect(whole, application_name="tests")
            engines.push_async_callback(engine.dispose)
            return engine

        yield make


async def pid_of(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(PID)).scalar_one())


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"database": "nowhere"}, 'database "nowhere" does not exist'),
        ({"port": 9}, "Connection refused"),
    ],
)
async def test_a_refused_connection_is_logged_with_its_reason_once_and_no_password(
    engine_apart: AsyncEngine, connect: Connect, wrong: dict[str, Any], reason: str
) -> None:
    refused = connect(engine_apart.url.set(**wrong))
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(OperationalError):
                await pid_of(refused)
    [line] = logs
    assert reason in line["reason"]
    assert line["pool"] == "tests"
    assert str(engine_apart.url.password) not in str(logs)


async def test_one_that_is_refused_for_there_are_too_many_is_logged_again_after_one_that_was_not(
    engine_apart: AsyncEngine, connect: Connect
) -> None:
    role = unique("role")
    async with engine_apart.begin() as connection:
        await connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 1"))
    url = engine_apart.url.set(username=role, password="p")
    first, second = connect(url), connect(url)
    with capture_logs() as logs:
        for _ in range(2):
            async with first.connect() as connection:
                await connection.execute(PID)
                for _ in range(2):
                    with pytest.raises(OperationalError):
                        await pid_of(second)
            await first.dispose()
            await pid_of(second)
            await second.dispose()
    assert len(logs) == 2
    assert all("too many connections" in line["reason"] for line in logs)


@pytest.mark.parametrize("ping", [True, False])
async def test_a_pool_that_only_reads_leaves_a_server_that_has_become_read_only(
    engine_apart: AsyncEngine, stack: Stack, *, ping: bool
) -> None:
    """Of which no error tells it; the server has said so beside an answer."""
    url = stack.postgres.url(str(engine_apart.url.database))
    reading = store_engine.connect(url, application_name="tests", pool_size=1, ping=ping)
    lingering = await pid_of(reading)
    assert await pid_of(reading) == lingering
    async with reading.begin() as connection:
        await connection.execute(text("SET default_transaction_read_only = on"))
    assert await pid_of(reading) != lingering
    await reading.dispose()
