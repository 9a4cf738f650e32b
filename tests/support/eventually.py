"""Wait for what happens soon on a server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")
LONGEST_SECONDS = 120


async def eventually(look: Callable[[], Awaitable[Found]]) -> Found:
    """Look until something (truthy) is found; return it. Raise TimeoutError after two minutes."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while not (found := await look()):  # noqa: ASYNC110  (a server, not an event)
            await asyncio.sleep(0.05)
    return found
