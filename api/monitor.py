"""What is read for those who watch, and who they are: for both, the database may be away."""

import asyncio
import hashlib
from collections import OrderedDict
from typing import Self

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.visibility import Visibility
from api.gauges import Gauges
from api.kept import Kept
from api.problems import DATABASE_GONE, TEMPORAL_GONE
from billing.monitoring import Figures
from billing.parked import ParkedFilter, ParkedTotal
from store import figures as everything

# Any number of scrapers cost one read in this time.
FRESH_SECONDS = 10.0
# As much of the time may be spent reading: what is a lot to count is counted less often.
SHARE = 0.05
# A database that is slow to count has its last figures shown, but not for ever.
STALE_SECONDS = 60.0
# With as much for the key, a scrape is answered within two seconds.
PATIENCE_SECONDS = 1.0
_MOST_REMEMBERED = 100


class Monitor:
    """An async context manager: reads that are under way end with it."""

    def __init__(self, engine: AsyncEngine, temporal: Client) -> None:
        self._engine = engine
        self._visibility = Visibility(temporal)
        self._figures = Kept(
            self.figures,
            DATABASE_GONE,
            fresh_seconds=FRESH_SECONDS,
            share=SHARE,
            stale_seconds=STALE_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        self._parked = Kept(
            self.parked,
            (*TEMPORAL_GONE, TimeoutError),
            fresh_seconds=FRESH_SECONDS,
            share=SHARE,
            stale_seconds=STALE_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        self._let_in: OrderedDict[bytes, None] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._figures.close()
        await self._parked.close()

    async def figures(self) -> Figures:
        """Read what the database says, as of its own clock."""
        async with self._engine.connect() as connection:
            now = (await connection.execute(select(func.now()))).scalar_one()
            return await everything.figures(connection, now)

    async def parked(self) -> tuple[ParkedTotal, ...]:
        """Read what Temporal says is parked."""
        return await self._visibility.totals(ParkedFilter())

    async def gauges(self, *, database_is_up: bool) -> Gauges:
        """Give what is known now, without waiting for what is away."""
        temporal_is_up, parked, found = await asyncio.gather(
            self._temporal_answers(),
            self._parked.get(),
            self._figures.get() if database_is_up else _nothing(),
        )
        return Gauges(
            found,
            parked if temporal_is_up else None,
            database_is_up=database_is_up,
            temporal_is_up=temporal_is_up,
        )

    async def _temporal_answers(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._visibility.count(ParkedFilter())
        except (*TEMPORAL_GONE, TimeoutError):
            return False
        return True

    def remember(self, credentials: str) -> None:
        """Keep whom the database has let in; only a hash stays in memory."""
        self._let_in[_digest(credentials)] = None
        self._let_in.move_to_end(_digest(credentials))
        if len(self._let_in) > _MOST_REMEMBERED:
            self._let_in.popitem(last=False)

    def forget(self, credentials: str) -> None:
        """Let them in no more: the database has refused them."""
        self._let_in.pop(_digest(credentials), None)

    def remembers(self, credentials: str) -> bool:
        """Say whether the database let them in the last time it was asked."""
        return _digest(credentials) in self._let_in


async def _nothing() -> None:
    return None


def _digest(credentials: str) -> bytes:
    return hashlib.sha256(credentials.encode()).digest()
