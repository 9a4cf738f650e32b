"""Make rounds of the watch one at a time, and read the alerts of each."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.monitoring.watch import WatchActivities
from activities.parking.visibility import Visibility
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.database import engine as store_engine
from tests.support.factories import unique


class Watchman:
    """A watch that looks when a test calls it. `news` returns each alert once."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, threshold_minor: int = 10_000
    ) -> None:
        self.engine = engine
        rules = PlatformRules(parked_money_alert_minor=threshold_minor)
        self.activities = WatchActivities(engine, Visibility(temporal), rules)
        self._seen = 0

    async def look(self, now: datetime) -> list[str]:
        """Make a round; return its alerts."""
        before = await self.news()
        assert before == [], "something else has stored alerts"
        count = await ActivityEnvironment().run(self.activities.look, now)
        news = await self.news()
        assert count == len(news)
        return news

    async def news(self) -> list[str]:
        """Return the level and title of each alert since the last call."""
        async with self.engine.connect() as connection:
            found = (await alerts.page(connection, None, 1000))[::-1]
        new = [one.alert for one in found if one.position > self._seen]
        self._seen = max((one.position for one in found), default=0)
        return [f"{one.level}: {one.title}" for one in new]


@asynccontextmanager
async def connections_refused(engine: AsyncEngine) -> AsyncIterator[None]:
    """Let PostgreSQL refuse connections to this database, and close those that exist."""
    elsewhere = engine.url.set(drivername="postgresql", database="postgres")
    url = elsewhere.render_as_string(hide_password=False)
    admin = store_engine.connect(url, application_name="tests", pool_size=1)
    close_all = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    allow = f'ALTER DATABASE "{engine.url.database}" WITH ALLOW_CONNECTIONS'
    async with admin.begin() as connection:
        await connection.execute(text(f"{allow} false"))
    async with admin.begin() as connection:
        await connection.execute(close_all, {"name": engine.url.database})
    try:
        yield
    finally:
        async with admin.begin() as connection:
            await connection.execute(text(f"{allow} true"))
        await admin.dispose()


def a_watch_id() -> str:
    """Return a new workflow id for a watch."""
    return unique("watch-billing")
