"""A read that many ask for is made once, and its answer kept for a little."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Read = TypeVar("Read")


class Kept(Generic[Read]):
    """Reads at most once every `fresh_seconds`, and never twice at a time.

    Nobody waits for longer than `patience_seconds`: whoever would is given the last answer, unless
    that is older than `stale_seconds`. A read that failed with one of `gone` is no answer, and
    forgets the last one; any other error is the caller's.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Read]],
        gone: tuple[type[Exception], ...],
        *,
        fresh_seconds: float,
        stale_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._read = read
        self._gone = gone
        self._fresh_seconds = fresh_seconds
        self._stale_seconds = stale_seconds
        self._patience_seconds = patience_seconds
        self._last: tuple[float, Read] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> Read | None:
        """Answer with what was read; None when there is no answer in time."""
        if (fresh := self._younger_than(self._fresh_seconds)) is not None:
            return fresh
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_again())
        reading = self._reading
        done, _ = await asyncio.wait({reading}, timeout=self._patience_seconds)
        if done:
            await reading
        return self._younger_than(self._stale_seconds)

    async def close(self) -> None:
        """End the read that is under way, if any."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _read_again(self) -> None:
        try:
            found = await self._read()
            self._last = (time.monotonic(), found)
        except self._gone:
            self._last = None
        finally:
            self._reading = None

    def _younger_than(self, seconds: float) -> Read | None:
        if self._last is None or time.monotonic() - self._last[0] >= seconds:
            return None
        return self._last[1]
