"""See in PostgreSQL that one transaction waits for another."""

import asyncio
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.eventually import eventually

_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def until_it_waits_for_a_lock(engine: AsyncEngine, what: asyncio.Task[Any]) -> None:
    """Until a statement waits for the lock of another; or the task ends, which needed none."""

    async def waits() -> bool:
        async with engine.connect() as connection:
            return what.done() or bool(await connection.scalar(_WAITING))

    await eventually(waits)
