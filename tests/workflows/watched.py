"""The watch as tests have it: a round at a time, and what that told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.visibility import Visibility
from activities.watch import WatchActivities
from store import alerts
from store import engine as store_engine
from tests.factories import unique


class Watchman:
    """Looks when told to; `told` gives each alert once, as level and title."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, threshold_minor: int = 10_000
    ) -> None:
        self.engine = engine
        self.activities = WatchActivities(engine, Visibility(temporal), threshold_minor)
        self._seen = 0

    async def look(self, now: datetime) -> list[str]:
        """Make a round; answers with what it told."""
        before = await self.told()
        assert before == [], "something else has told"
        news = await ActivityEnvironment().run(self.activities.look, now)
        told = await self.told()
        assert news == len(told)
        return told

    async def told(self) -> list[str]:
        """What was told since it was asked the last time."""
        async with self.engine.connect() as connection:
            found = (await alerts.page(connection, None, 1000))[::-1]
        new = [one.alert for one in found if one.position > self._seen]
        self._seen = max((one.position for one in found), default=0)
        return [f"{one.level}: {one.title}" for one in new]


@asynccontextmanager
async def refused(engine: AsyncEngine) -> AsyncIterator[None]:
    """Let PostgreSQL take nobody into this database, and throw out who is in it."""
    elsewhere = engine.url.set(drivername="postgresql", database="postgres")
    url = elsewhere.render_as_string(hide_password=False)
    admin = store_engine.connect(url, application_name="tests", pool_size=1)
    thrown_out = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
    )
    allow = f'ALTER DATABASE "{engine.url.database}" WITH ALLOW_CONNECTIONS'
    async with admin.begin() as connection:
        await connection.execute(text(f"{allow} false"))
    async with admin.begin() as connection:
        await connection.execute(thrown_out, {"name": engine.url.database})
    try:
        yield
    finally:
        async with admin.begin() as connection:
            await connection.execute(text(f"{allow} true"))
        await admin.dispose()


def an_id() -> str:
    """The id of a watch of a test's own."""
    return unique("watch-billing")
