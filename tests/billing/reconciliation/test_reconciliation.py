"""Windows, how well webhooks arrive, and what that comes to."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.errors import InvalidWindow
from billing.inbox.webhook_event import Source
from billing.ledger.money import Currency, Money
from billing.reconciliation.reconciliation import (
    GRACE,
    LONGEST_WINDOW,
    Impact,
    Reconciliation,
    Run,
    RunStatus,
    Tally,
    Window,
    impact,
    is_unreliable,
    report,
    total,
    window_of,
)
from billing.reconciliation.reliability import reliability

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
LATEST = NOW - GRACE
DAY = timedelta(days=1)
VAPI = Reconciliation(Source.VAPI)
STRIPE = Reconciliation(Source.STRIPE)


def pence(amount_minor: int) -> Money:
    return Money(amount_minor, Currency.GBP)


def cents(amount_minor: int) -> Money:
    return Money(amount_minor, Currency.USD)


def run(since: datetime = LATEST - 2 * DAY, reached: datetime | None = None) -> Run:
    window = Window(since, LATEST)
    return Run("run", Source.VAPI, "reconcile-vapi/all/latest", window, NOW, reached=reached)


# ---- the window


@pytest.mark.parametrize("last_success", [None, NOW, LATEST])
def test_a_window_is_48_hours_at_least(last_success: datetime | None) -> None:
    assert window_of(VAPI, NOW, last_success) == Window(LATEST - timedelta(hours=48), LATEST)


@pytest.mark.parametrize("days", [1, 9, 300])
def test_calls_that_went_on_at_the_last_success_are_looked_at_however_long_the_outage(
    days: int,
) -> None:
    last_success = NOW - days * DAY
    assert window_of(VAPI, NOW, last_success) == Window(last_success - 2 * DAY, LATEST)


def test_an_outage_of_years_is_looked_at_as_far_as_a_window_goes() -> None:
    assert window_of(VAPI, NOW, NOW - 800 * DAY) == Window(LATEST - LONGEST_WINDOW, LATEST)


def test_payments_are_looked_at_for_as_long_as_a_bank_debit_may_take() -> None:
    assert window_of(STRIPE, NOW, NOW - DAY) == Window(NOW - 15 * DAY, LATEST)


def test_a_range_is_taken_as_asked_for() -> None:
    asked = replace(VAPI, since=NOW - 30 * DAY, until=NOW - 29 * DAY)
    assert window_of(asked, NOW, NOW - 60 * DAY) == Window(NOW - 30 * DAY, NOW - 29 * DAY)


def test_an_end_without_a_start_means_the_48_hours_before_it() -> None:
    asked = replace(VAPI, until=NOW - 10 * DAY)
    assert window_of(asked, NOW, NOW - 60 * DAY) == Window(NOW - 12 * DAY, NOW - 10 * DAY)


@pytest.mark.parametrize("until", [NOW, NOW + 5 * DAY, None])
def test_what_has_only_just_ended_is_left_alone(until: datetime | None) -> None:
    asked = replace(VAPI, since=NOW - DAY, until=until)
    assert window_of(asked, NOW, None).until == LATEST


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (NOW - DAY, NOW - 2 * DAY),
        (NOW - DAY, NOW - DAY),
        (NOW + DAY, NOW + 2 * DAY),
        (LATEST, None),
        (NOW - timedelta(days=367, minutes=10, seconds=1), None),
    ],
)
def test_a_window_that_is_empty_or_longer_than_a_year_is_refused(
    since: datetime, until: datetime | None
) -> None:
    with pytest.raises(InvalidWindow, match="10 minutes before now at the latest"):
        window_of(replace(VAPI, since=since, until=until), NOW, None)


def test_only_a_run_over_everything_is_a_daily_one() -> None:
    assert VAPI.is_daily
    for narrower in ({"since": NOW}, {"until": NOW}, {"org_id": "acme"}):
        assert not replace(VAPI, **narrower).is_daily


# ---- reliability


@pytest.mark.parametrize(
    ("checked", "missing", "percent"),
    [
        (0, 0, "100.00"), (2, 1, "50.00"), (100, 10, "90.00"), (10_000, 300, "97.00"),
        (20, 1, "95.00"), (10_000, 501, "94.99"), (3, 3, "0.00"), (3, 1, "66.66"),
        (1_000_000, 50_001, "94.99"), (1_000_000, 1, "99.99"),
    ],
)  # fmt: skip
def test_reliability_is_the_share_that_arrived_rounded_down(
    checked: int, missing: int, percent: str
) -> None:
    assert str(reliability(checked, missing)) == percent


@pytest.mark.parametrize(
    ("checked", "missing", "unreliable"),
    [(20, 1, False), (10_000, 500, False), (10_000, 501, True), (1_000_000, 50_001, True),
     (0, 0, False), (1, 1, True)],
)  # fmt: skip
def test_exactly_95_percent_is_no_alert_and_anything_less_is(
    checked: int, missing: int, unreliable: bool
) -> None:
    assert is_unreliable(Tally("acme", checked, missing)) is unreliable


# ---- totals


def test_a_total_adds_counts_and_keeps_currencies_apart() -> None:
    acme = Tally("acme", 100, 10, 1, 2, 3, 4, 5, 6, (pence(500),), (pence(300),))
    bolt = Tally("bolt", 100, 0, 1, 1, 1, 1, 1, 1, (cents(70), pence(1)), (cents(70),))
    assert total([acme, bolt]) == Tally(
        org_id=None,
        checked=200,
        missing=10,
        unbilled=2,
        drifted=3,
        orphaned=4,
        recovered=5,
        quarantined=6,
        waiting=7,
        missing_amounts=(pence(501), cents(70)),
        recovered_amounts=(pence(300), cents(70)),
        reliability_percent=Decimal(95),
    )


def test_nothing_checked_is_a_hundred_percent() -> None:
    assert total([]) == Tally(None)
    assert total([]).reliability_percent == 100


def test_impact_is_what_would_be_missed_at_the_measured_rate() -> None:
    whole = Tally(None, 10_000, 300, missing_amounts=(pence(30_000), cents(2)))
    assert impact(whole, Window(NOW - 2 * DAY, NOW)) == Impact(
        missed_a_month=4_500,
        money_a_month=(pence(450_000), cents(30)),
        money_a_year=(pence(5_475_000), cents(365)),
    )


def test_impact_is_rounded_half_up_to_whole_calls_and_minor_units() -> None:
    whole = Tally(None, 100, 1, missing_amounts=(pence(1),))
    over = impact(whole, Window(NOW - 20 * DAY, NOW))
    assert (over.missed_a_month, over.money_a_month) == (2, (pence(2),))


# ---- a run


@pytest.mark.parametrize(
    ("reached", "progress"),
    [(None, "0"), (LATEST, "0.000"), (LATEST - DAY, "0.500"), (LATEST - 3 * DAY, "1.000")],
)
def test_a_run_has_come_as_far_as_the_oldest_it_has_compared(
    reached: datetime | None, progress: str
) -> None:
    assert str(run(reached=reached).progress) == progress


def test_a_run_that_ended_has_compared_everything_even_if_there_was_nothing() -> None:
    ended = replace(run(), status=RunStatus.SUCCEEDED, finished_at=NOW)
    assert ended.progress == 1


def test_a_report_of_a_run_under_way_says_how_it_stands_now() -> None:
    under_way = run(reached=LATEST - DAY)
    written = report(under_way, [Tally("acme", 4, 1), Tally(None, 4, 0)], NOW + 90 * DAY / 86_400)
    assert written.duration_seconds == 90
    assert written.progress == Decimal("0.5")
    assert (written.total.checked, written.total.reliability_percent) == (8, Decimal("87.5"))
    assert [one.org_id for one in written.organizations] == ["acme", None]
    assert written.impact.missed_a_month == 15
