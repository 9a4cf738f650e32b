"""When keys are used: written down now and then, behind the answers; nobody waits for it."""

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.organizations import NOTED_EVERY, ApiKey
from store.database.errors import DATABASE_GONE, reason_of
from store.organizations import api_keys

# What could not be written down is tried again after this time.
AGAIN_SECONDS = 60.0
_MOST_REMEMBERED = 10_000
# A server that hangs lets nobody go, also not who is cancelled.
_FAREWELL_SECONDS = 1.0
log = structlog.get_logger()


class KeyUses:
    """Writes down that keys are used, one after another, each once an hour at most.

    At the end of its context what is still to be written is left out.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_MOST_REMEMBERED)
        self._tried: OrderedDict[str, float] = OrderedDict()
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._writing = asyncio.create_task(self._write())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing}, timeout=_FAREWELL_SECONDS)

    def note(self, key: ApiKey) -> None:
        """Have it written down that a key is used, if that is due; never wait for it."""
        at = key.last_used_at
        if at is not None and datetime.fromtimestamp(time.time(), UTC) < at + NOTED_EVERY:
            return
        now = time.monotonic()
        if now < self._tried.get(key.key_id, -AGAIN_SECONDS) + AGAIN_SECONDS:
            return
        self._tried[key.key_id] = now
        if len(self._tried) > _MOST_REMEMBERED:
            self._tried.popitem(last=False)
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait(key.key_id)

    async def _write(self) -> None:
        while True:
            key_id = await self._waiting.get()
            try:
                async with self._engine.begin() as connection:
                    await api_keys.used(connection, key_id)
            except (SQLAlchemyError, *DATABASE_GONE) as error:
                log.warning("the use of a key was not written down", reason=reason_of(error))
