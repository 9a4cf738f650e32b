"""A read that many ask for: made once, kept for a little, and waited for by nobody for long."""

import asyncio
import math
from collections.abc import Sequence

import pytest

from api.monitoring.cached_read import CachedRead


class Well:
    """Something to read: answers with 1, 2, 3, … or fails, as fast as it is told."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.reads = 0
        self.seconds = seconds
        self.error: Exception | None = None

    async def read(self) -> int:
        self.reads += 1
        number = self.reads
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return number


def kept(
    well: Well,
    *,
    fresh: float = 10.0,
    share: float = math.inf,
    stale: float = 60.0,
    patience: float = 5.0,
) -> CachedRead[int]:
    return CachedRead(
        well.read,
        (ConnectionError,),
        fresh_seconds=fresh,
        share=share,
        stale_seconds=stale,
        patience_seconds=patience,
    )


async def at_once(read: CachedRead[int], many: int) -> Sequence[int | None]:
    return await asyncio.gather(*(read.get() for _ in range(many)))


async def test_any_number_who_ask_at_once_and_soon_after_cost_one_read() -> None:
    well = Well(seconds=0.05)
    read = kept(well)
    assert set(await at_once(read, 50)) == {1}
    assert await read.get() == 1
    assert well.reads == 1


async def test_what_is_no_longer_fresh_is_read_again() -> None:
    read = kept(Well(), fresh=0.0)
    assert [await read.get(), await read.get()] == [1, 2]


async def test_nobody_waits_for_a_slow_read_that_is_made_once_and_kept_when_it_ends() -> None:
    well = Well(seconds=0.3)
    read = kept(well, patience=0.01)
    assert set(await at_once(read, 5)) == {None}
    assert await read.get() is None
    await asyncio.sleep(0.4)
    assert await read.get() == 1
    assert well.reads == 1


async def test_whoever_waited_long_enough_is_given_the_last_answer_unless_it_is_too_old() -> None:
    well = Well()
    read = kept(well, fresh=0.0, stale=0.5, patience=0.01)
    assert await read.get() == 1
    well.seconds = 30.0
    assert await read.get() == 1
    await asyncio.sleep(0.5)
    assert await read.get() is None
    await read.close()
    assert well.reads == 2


async def test_what_takes_long_to_read_is_read_less_often() -> None:
    """A tenth of a second twenty times over is two."""
    well = Well(seconds=0.1)
    read = kept(well, fresh=0.0, share=0.05)
    assert await read.get() == 1
    await asyncio.sleep(0.2)
    assert await read.get() == 1
    await asyncio.sleep(5)
    assert await read.get() == 2


async def test_what_is_away_is_no_answer_and_is_asked_again_at_once() -> None:
    well = Well()
    read = kept(well, fresh=0.0)
    assert await read.get() == 1
    well.error = ConnectionError("away")
    assert await read.get() is None
    well.error = None
    assert await read.get() == 3


async def test_a_defect_is_not_taken_for_something_that_is_away() -> None:
    well = Well()
    well.error = ValueError("a bug")
    read = kept(well)
    with pytest.raises(ValueError, match="a bug"):
        await read.get()
