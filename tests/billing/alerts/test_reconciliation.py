"""Which alarms a reconciliation raises and clears."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from billing.alerts.alert import AlertLevel
from billing.alerts.reconciliation import crossings, failed, notes, overdue
from billing.inbox.webhook_event import Source
from billing.reconciliation import reconciliation
from billing.reconciliation.reconciliation import Report, Run, Tally, Window
from billing.reconciliation.reliability import reliability

NOW = datetime(2026, 11, 2, 3, tzinfo=UTC)
RUN = Run(
    "run", Source.VAPI, "reconcile-vapi", Window(NOW - timedelta(days=2), NOW), NOW, daily=True
)


def tally(org_id: str | None, checked: int, missing: int, recovered: int = 0) -> Tally:
    percent = reliability(checked, missing)
    return Tally(org_id, checked, missing, recovered=recovered, reliability_percent=percent)


def report(*tallies: Tally) -> Report:
    return reconciliation.report(RUN, tallies, NOW)


def raised(shown: Report) -> set[str]:
    return {one.alarm for one in crossings(shown) if one.raised}


@pytest.mark.parametrize(
    ("checked", "missing", "is_raised"),
    [(100, 5, False), (100, 6, True), (10_000, 500, False), (10_000, 501, True), (0, 0, False)],
)
def test_exactly_95_percent_raises_no_alarm(checked: int, missing: int, is_raised: bool) -> None:
    alarms = raised(report(tally("org", checked, missing)))
    expected = {"reliability:vapi:*", "reliability:vapi:org"} if is_raised else set()
    assert alarms == expected


def test_one_organisation_can_be_below_the_mark_while_the_total_is_not() -> None:
    shown = report(tally("small", 2, 1), tally("large", 1000, 0))
    assert raised(shown) == {"reliability:vapi:small"}


def test_calls_of_nobody_count_in_total_only() -> None:
    assert raised(report(tally(None, 10, 10))) == {"reliability:vapi:*"}


def test_an_organisation_without_calls_keeps_its_alarm_as_it_is() -> None:
    alarms = {one.alarm for one in crossings(report(tally("quiet", 0, 0)))}
    assert "reliability:vapi:quiet" not in alarms


def test_a_credit_without_a_payment_raises_an_alarm() -> None:
    assert raised(report(Tally("org", checked=10, orphaned=1))) == {"orphans:vapi"}


@pytest.mark.parametrize(("cards", "is_raised"), [(0, False), (1, True), (7, True)])
def test_who_is_recharged_and_has_no_card_raises_an_alarm_as_deep_as_they_are_many(
    cards: int, is_raised: bool
) -> None:
    of_stripe = replace(report(), run=replace(RUN, source=Source.STRIPE))
    [crossing] = [one for one in crossings(of_stripe, cards) if one.alarm == "cards:stripe"]
    assert (crossing.raised, crossing.depth) == (is_raised, cards or 1)
    assert not [one for one in crossings(report(), cards) if one.alarm.startswith("cards")]


def test_every_alert_of_a_run_has_a_key_of_its_own() -> None:
    shown = report(tally("a", 2, 1), tally("b", 2, 1))
    keys = [one.alert.key for one in crossings(shown)] + [one.key for one in notes(shown)]
    assert len(keys) == len(set(keys))
    assert all(key.startswith("run:") for key in keys)


def test_what_was_recovered_is_information_unless_it_is_an_alarm() -> None:
    [note] = notes(report(tally("org", 100, 5, recovered=5)))
    assert (note.level, note.title) == (
        AlertLevel.INFO,
        "5 recovered by the reconciliation with Vapi",
    )
    assert list(notes(report(tally("org", 100, 6, recovered=6)))) == []
    assert list(notes(report(tally("org", 100, 0)))) == []


def test_a_failed_run_is_critical() -> None:
    crossing = failed(RUN, "401 Unauthorized")
    assert (crossing.raised, crossing.alert.level) == (True, AlertLevel.CRITICAL)
    assert "401 Unauthorized" in crossing.alert.text


@pytest.mark.parametrize(("hours", "late"), [(25, False), (26, False), (27, True)])
def test_a_run_is_overdue_after_26_hours(hours: int, late: bool) -> None:
    crossing = overdue(Source.STRIPE, NOW - timedelta(hours=hours), NOW)
    assert (crossing.alarm, crossing.raised) == ("reconciliation-overdue:stripe", late)
