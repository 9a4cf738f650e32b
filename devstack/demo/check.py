"""Compare what was found with what was expected."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

Found = TypeVar("Found")
# How long something may take to happen. A busy machine takes many times as long as an idle one.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was looked at, what was expected, and what was found."""

    what: str
    expected: str
    found: str
    agrees: bool

    def complaint(self) -> str:
        """Return in words how the found differs from the expected."""
        return f"{self.what}: expected {self.expected}, found {self.found}"


def exactly(what: str, expected: object, found: object) -> Figure:
    """Return the figure of something that is known by now."""
    return Figure(what, _shown(expected), _shown(found), expected == found)


def at_least(what: str, least: int, found: int) -> Figure:
    """Return the figure of a number that depends on how fast this machine is."""
    return Figure(what, f"at least {least}", str(found), found >= least)


async def becomes(what: str, expected: Found, probe: Callable[[], Awaitable[Found]]) -> Figure:
    """Look until what is found is what is expected, for 30 s at most; return the figure."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await probe()) != expected and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)
    return exactly(what, expected, found)


def _shown(value: object) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return " ".join(map(str, value))
