"""Make a read once for many who ask, and keep its answer for a short time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")
# A read that has no answer by then is given up, so that the next one can begin.
_LONGEST_READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Answer(Generic[Value]):
    """What was read; until when it is fresh, and until when it may be returned at all.

    Both are on the monotonic clock.
    """

    read: Value
    fresh_until: float
    until: float


class CachedRead(Generic[Value]):
    """Make a read at most once every `fresh_seconds`, and never twice at a time.

    Reading takes at most `share` of the time: what takes long is read less often. Nobody waits
    longer than `patience_seconds`. After that the last answer is returned, unless it has not been
    fresh for `stale_seconds`. A read that fails with one of `gone`, or does not end, has no answer,
    and the last one is forgotten. Any other error is raised.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Value]],
        gone: tuple[type[Exception], ...],
        *,
        fresh_seconds: float,
        share: float,
        stale_seconds: float,
        patience_seconds: float,
    ) -> None:
        self._read = read
        self._gone = gone
        self._fresh_seconds = fresh_seconds
        self._share = share
        self._stale_seconds = stale_seconds
        self._patience_seconds = patience_seconds
        self._last: _Answer[Value] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> Value | None:
        """Return what was read, or None if there is no answer in time."""
        if self._last is not None and time.monotonic() < self._last.fresh_until:
            return self._last.read
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_again())
        reading = self._reading
        done, _ = await asyncio.wait({reading}, timeout=self._patience_seconds)
        if done:
            await reading
        if self._last is None or time.monotonic() >= self._last.until:
            return None
        return self._last.read

    async def close(self) -> None:
        """End the read that is under way, if any."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})

    async def _read_again(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_LONGEST_READ_SECONDS):
                found = await self._read()
            ended = time.monotonic()
            fresh_until = ended + max(self._fresh_seconds, (ended - began) / self._share)
            self._last = _Answer(found, fresh_until, fresh_until + self._stale_seconds)
        except self._gone:
            self._last = None
        finally:
            self._reading = None
