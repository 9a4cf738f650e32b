"""Read figures for operators and scrapers, and remember their keys: the database may be away."""

import asyncio
import hashlib
from collections import OrderedDict
from datetime import datetime
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.parking.visibility import Visibility
from api.monitoring.cached_read import CachedRead
from api.monitoring.gauges import Gauges
from billing.monitoring import Figures
from billing.parking.parked_work import ParkedFilter, ParkedTotal
from processes.errors import TEMPORAL_GONE
from store.database import clock
from store.database.errors import DATABASE_GONE
from store.monitoring import figures as everything

# However many scrapers there are, there is one read in this time.
FRESH_SECONDS = 10.0
# At most this share of the time is spent reading: what takes long to count is counted less often.
SHARE = 0.05
# While the database is slow to count, its last figures are shown for this long.
STALE_SECONDS = 60.0
# The key's check may take as long, so a scrape is answered within two seconds.
PATIENCE_SECONDS = 1.0
_MOST_REMEMBERED = 100


class Monitor:
    """Reader of figures and of parked work. At the end of its context, reads under way end too."""

    def __init__(self, engine: AsyncEngine, temporal: Client) -> None:
        self._engine = engine
        self._visibility = Visibility(temporal)
        self._figures = CachedRead(
            self.figures,
            DATABASE_GONE,
            fresh_seconds=FRESH_SECONDS,
            share=SHARE,
            stale_seconds=STALE_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        self._parked = CachedRead(
            self.parked,
            (*TEMPORAL_GONE, TimeoutError),
            fresh_seconds=FRESH_SECONDS,
            share=SHARE,
            stale_seconds=STALE_SECONDS,
            patience_seconds=PATIENCE_SECONDS,
        )
        self._let_in: OrderedDict[bytes, datetime | None] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._figures.close()
        await self._parked.close()

    async def figures(self) -> Figures:
        """Read the figures from the database, at the time of its own clock."""
        async with self._engine.connect() as connection:
            return await everything.figures(connection, await clock.now(connection))

    async def parked(self) -> tuple[ParkedTotal, ...]:
        """Read from Temporal what is parked."""
        return await self._visibility.totals(ParkedFilter())

    async def gauges(self, *, database_is_up: bool) -> Gauges:
        """Return the gauges of what is known now, without waiting for what is away."""
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

    def remember(self, credentials: str, until: datetime | None) -> None:
        """Remember credentials that the database accepts, `until` then; memory has only a hash."""
        self._let_in[_digest(credentials)] = until
        self._let_in.move_to_end(_digest(credentials))
        if len(self._let_in) > _MOST_REMEMBERED:
            self._let_in.popitem(last=False)

    def forget(self, credentials: str) -> None:
        """Forget credentials that the database has refused."""
        self._let_in.pop(_digest(credentials), None)

    def remembers(self, credentials: str, now: datetime) -> bool:
        """Return whether the database, when it was last asked, accepted these credentials."""
        digest = _digest(credentials)
        until = self._let_in.get(digest)
        return digest in self._let_in and (until is None or now < until)


async def _nothing() -> None:
    return None


def _digest(credentials: str) -> bytes:
    return hashlib.sha256(credentials.encode()).digest()
