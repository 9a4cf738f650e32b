"""The leaky bucket that tells a flood from a drizzle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.intake.intake import LeakyBucket

RATES = st.floats(min_value=1, max_value=1000)


def arrivals(rate: float, how_many: int, start: float = 100.0) -> list[float]:
    """Evenly spaced moments, `rate` a second."""
    return [start + number / rate for number in range(how_many)]


@given(RATES)
def test_a_drizzle_at_the_rate_never_overflows(rate: float) -> None:
    bucket = LeakyBucket(rate)
    assert not any(bucket.overflows(now) for now in arrivals(rate * 0.999, 500))


def test_a_burst_of_two_seconds_worth_fits_and_the_next_arrival_overflows() -> None:
    bucket = LeakyBucket(20)
    assert [bucket.overflows(100.0) for _ in range(41)] == [False] * 40 + [True]


def test_a_flood_is_over_when_it_has_leaked_away_and_looking_adds_nothing() -> None:
    bucket = LeakyBucket(20)
    for _ in range(100):
        bucket.overflows(100.0)
    assert [bucket.is_flooded(100.5) for _ in range(100)] == [True] * 100
    assert not bucket.is_flooded(101.1)


def test_a_steady_overload_overflows_and_goes_on_overflowing() -> None:
    bucket = LeakyBucket(20)
    verdicts = [bucket.overflows(now) for now in arrivals(200, 2000)]
    assert not verdicts[0]
    first = verdicts.index(True)
    assert all(verdicts[first:]), "workflows of their own must stop while a flood lasts"


@pytest.mark.parametrize("size", [100, 10_000, 100_000])
def test_it_is_calm_a_second_after_a_flood_of_any_size(size: int) -> None:
    bucket = LeakyBucket(20)
    for _ in range(size):
        bucket.overflows(100.0)
    assert bucket.overflows(100.9)
    assert not bucket.overflows(102.1)


@given(RATES, st.integers(min_value=1, max_value=300), st.floats(min_value=0, max_value=3))
def test_how_long_it_takes_to_calm_down_does_not_depend_on_the_flood(
    rate: float, more: int, seconds: float
) -> None:
    small, large = LeakyBucket(rate), LeakyBucket(rate)
    flood = int(3 * rate) + 2
    for _ in range(flood):
        small.overflows(100.0)
    for _ in range(flood + more):
        large.overflows(100.0)
    assert small.overflows(100.0 + seconds) == large.overflows(100.0 + seconds)


def test_an_empty_bucket_stays_empty_however_long_it_waits() -> None:
    bucket = LeakyBucket(20)
    bucket.overflows(100.0)
    assert [bucket.overflows(1e9) for _ in range(41)] == [False] * 40 + [True]
