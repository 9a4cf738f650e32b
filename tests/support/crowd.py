"""Do many things at once, as many as the tests' pool has connections."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

# Whoever waits longer for a connection than the pool's patience would fail on a busy machine.
AT_ONCE = 10
Answer = TypeVar("Answer")


async def crowd(tries: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """Await all of them, at most ten at a time; return their answers in the same order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(attempt: Awaitable[Answer]) -> Answer:
        async with places:
            return await attempt

    return await asyncio.gather(*map(one, tries))
