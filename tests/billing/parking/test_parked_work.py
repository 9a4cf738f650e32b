"""What people say about parked work, and what they mean by it."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from billing.parking.parked_work import BulkDecision, ParkedFilter, Verdict, bulk_id, said
from tests.support.factories import NOON

BULK = BulkDecision("7f3a", Verdict.REPROCESS, ParkedFilter("acme"), "Ann: Stripe is back")


@pytest.mark.parametrize("nothing", ["", "  ", "\x00", " \x00\n"])
def test_nothing_is_what_is_said_without_a_word(nothing: str) -> None:
    assert said(nothing) == ""


def test_what_is_said_is_kept_as_far_as_it_can_be() -> None:
    assert said(" Ann\x00: mended ") == "Ann: mended"
    assert said("x" * 5000) == "x" * 1000


def test_each_is_told_by_which_bulk_however_much_was_said() -> None:
    assert BULK.said == "Ann: Stripe is back (bulk 7f3a)"
    long = replace(BULK, who_and_why="x" * 5000)
    assert said(long.said).endswith("x (bulk 7f3a)")


@pytest.mark.parametrize(
    ("parked_before", "started_at", "expected"),
    [
        (None, None, None),
        (NOON, None, NOON),
        (None, NOON, NOON),
        (NOON, NOON + timedelta(hours=1), NOON),
        (NOON, NOON - timedelta(hours=1), NOON - timedelta(hours=1)),
    ],
)
def test_a_bulk_is_about_nothing_that_has_parked_since_it_began(
    parked_before: datetime | None, started_at: datetime | None, expected: datetime | None
) -> None:
    which = ParkedFilter("acme", parked_before=parked_before)
    bulk = replace(BULK, which=which, started_at=started_at)
    assert bulk.about == replace(which, parked_before=expected)


@pytest.mark.parametrize(("asked", "pace"), [(-1, 1), (0, 1), (20, 20), (200, 200), (9999, 200)])
def test_the_pace_is_one_that_temporal_bears(asked: int, pace: int) -> None:
    assert replace(BULK, per_second=asked).pace == pace


def test_the_same_key_of_the_same_caller_is_the_same_bulk() -> None:
    assert bulk_id("a", "key") == bulk_id("a", "key")
    assert len({bulk_id("a", "key"), bulk_id("b", "key"), bulk_id("a", "other")}) == 3
