"""Is it what it should be? A figure that was found beside the one that was expected."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Found = TypeVar("Found")
# How long something may take to happen; a busy machine needs many times what an idle one does.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was looked at, and whether it is what it should be."""

    what: str
    expected: str
    found: str
    agrees: bool

    def complaint(self) -> str:
        """Say what did not happen."""
        return f"{self.what}: expected {self.expected}, found {self.found}"


def exactly(what: str, expected: object, found: object) -> Figure:
    """Compare something that is known by now."""
    return Figure(what, _shown(expected), _shown(found), expected == found)


def at_least(what: str, least: int, found: int) -> Figure:
    """Compare a number that depends on how fast this machine is."""
    return Figure(what, f"at least {least}", str(found), found >= least)


async def becomes(what: str, expected: Found, probe: Callable[[], Awaitable[Found]]) -> Figure:
    """Look until it is what it should be, and give up when the patience is spent."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await probe()) != expected and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
    return exactly(what, expected, found)


def _shown(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return " ".join(map(str, value))
