"""A read that many ask for is made once, and its answer kept for a little."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Read = TypeVar("Read")
# Whoever does not answer at all is asked anew after this.
_LONGEST_READ_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class _Answer(Generic[Read]):
    """What was read, and until when (on the monotonic clock) it is fresh, or may be given."""

    read: Read
    fresh_until: float
    until: float


class Kept(Generic[Read]):
    """Reads at most once every `fresh_seconds`, and never twice at a time.

    Reads take `share` of the time at most: what takes long is read less often. Nobody waits for
    longer than `patience_seconds`: whoever would is given the last answer, unless that has not been
    fresh for `stale_seconds`. A read that failed with one of `gone`, or never ended, is no answer,
    and forgets the last one; any other error is the caller's.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[Read]],
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
        self._last: _Answer[Read] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def get(self) -> Read | None:
        """Answer with what was read; None when there is no answer in time."""
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
