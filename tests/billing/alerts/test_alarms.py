"""Which alarms a round of the watch raises and clears, on both sides of every mark."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.alerts.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.alerts.backlogs import NEVER_ALERTED
from billing.alerts.observation import Observation
from billing.alerts.outage import Outage, away, over
from billing.alerts.slack import message
from billing.alerts.watch import decide
from billing.ledger.money import Currency, Money
from billing.monitoring import Rate, RateName, Rates
from billing.parking.parked_work import ParkedTotal

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
WELL = Rate(1000, 1000)
NONE = Rate(0, 0)
THRESHOLD = 100_000


class Alarms:
    """What stays raised from round to round, and what was told: what the database does with it."""

    def __init__(self) -> None:
        self.depths = dict[str, int]()
        self.told = list[Crossing]()

    def look(self, seen: Observation) -> list[str]:
        """Make a round; answers with what it told, as level and alarm."""
        news = list[Crossing]()
        for one in decide(seen, frozenset(self.depths), THRESHOLD):
            if one.raised and one.depth > self.depths.get(one.alarm, 0):
                self.depths[one.alarm] = one.depth
                news.append(one)
            elif not one.raised and self.depths.pop(one.alarm, 0):
                news.append(one)
        self.told += news
        return [f"{one.alert.level} {one.alarm}" for one in news]

    def alert(self) -> Alert:
        """The one that was told last."""
        return self.told[-1].alert


def rates(delivery: Rate = WELL, processing: Rate = WELL, billing: Rate = WELL) -> Rates:
    return Rates(delivery, processing, billing)


def seen(
    quarter: Rates | None = None,
    hour: Rates | None = None,
    oldest: float = 0,
    *,
    parked: Sequence[ParkedTotal] = (),
    reconciling: Sequence[ParkedTotal] = (),
    failing: Sequence[str] = (),
) -> Observation:
    return Observation(
        at=NOON,
        quarter=quarter or rates(),
        hour=hour or rates(),
        oldest_due_seconds=oldest,
        parked=tuple(parked),
        reconciling=tuple(reconciling),
        failing=len(failing),
        failing_ids=tuple(failing[:5]),
    )


def total(reason: str, count: int = 1, *money: Money, minutes: float = 60) -> ParkedTotal:
    return ParkedTotal(reason, count, money, NOON - timedelta(minutes=minutes))


def pounds(minor: int) -> Money:
    return Money(minor, Currency.GBP)


def told_of(name: RateName, quarter: Rate, hour: Rate = WELL) -> list[str]:
    return Alarms().look(seen(rates(**{name: quarter}), rates(**{name: hour})))


# ---- rates


@pytest.mark.parametrize("name", RateName)
@pytest.mark.parametrize(("good", "is_told"), [(9500, False), (9499, True), (9900, False)])
def test_less_than_95_percent_for_15_minutes_is_high_and_exactly_95_is_good(
    name: RateName, good: int, is_told: bool
) -> None:
    told = told_of(name, Rate(good, 10_000))
    assert told == ([f"high rate:{name}"] if is_told else [])


@pytest.mark.parametrize("name", RateName)
@pytest.mark.parametrize(("good", "is_told"), [(9800, False), (9799, True)])
def test_less_than_98_percent_for_an_hour_is_medium(
    name: RateName, good: int, is_told: bool
) -> None:
    told = told_of(name, WELL, Rate(good, 10_000))
    assert told == ([f"medium rate:{name}"] if is_told else [])


@pytest.mark.parametrize(("total_", "is_told"), [(19, False), (20, True)])
def test_fewer_than_20_are_not_judged(total_: int, is_told: bool) -> None:
    told = told_of(RateName.DELIVERY, Rate(10, total_), Rate(10, total_))
    assert bool(told) is is_told


def test_what_is_bad_for_15_minutes_is_not_told_again_for_the_hour() -> None:
    alarms = Alarms()
    bad = rates(delivery=Rate(80, 100))
    assert alarms.look(seen(bad, bad)) == ["high rate:delivery"]
    assert alarms.look(seen(rates(), bad)) == []
    assert alarms.look(seen(bad, bad)) == []
    assert alarms.look(seen(rates(), rates())) == ["info rate:delivery"]


def test_what_gets_worse_is_told_again() -> None:
    alarms = Alarms()
    assert alarms.look(seen(hour=rates(billing=Rate(97, 100)))) == ["medium rate:billing"]
    assert alarms.look(seen(rates(billing=Rate(90, 100)))) == ["high rate:billing"]
    assert alarms.look(seen(rates(billing=Rate(0, 100)))) == ["critical rate:billing"]
    assert alarms.look(seen()) == ["info rate:billing"]


@pytest.mark.parametrize(
    ("quarter", "hour", "is_over"),
    [
        (Rate(969, 1000), WELL, False),
        (Rate(970, 1000), WELL, True),
        (WELL, Rate(989, 1000), False),
        (WELL, Rate(990, 1000), True),
        (NONE, NONE, True),
        (Rate(5, 5), Rate(19, 19), True),
        (Rate(4, 5), WELL, False),
        (NONE, Rate(18, 19), False),
    ],
)
def test_it_is_over_only_well_above_the_marks_or_when_nothing_of_too_few_failed(
    quarter: Rate, hour: Rate, is_over: bool
) -> None:
    alarms = Alarms()
    alarms.look(seen(rates(processing=Rate(1, 100))))
    told = alarms.look(seen(rates(processing=quarter), rates(processing=hour)))
    assert told == (["info rate:processing"] if is_over else [])


def test_an_alarm_that_is_over_for_want_of_calls_does_not_say_that_all_is_well() -> None:
    alarms = Alarms()
    alarms.look(seen(rates(billing=Rate(0, 3))))
    alarms.look(seen(rates(billing=NONE), rates(billing=NONE)))
    assert "nothing to judge by" in alarms.alert().title
    assert "%" not in alarms.alert().title


def test_an_alert_about_a_rate_says_how_many_of_how_many_and_where_to_look() -> None:
    alarms = Alarms()
    alarms.look(seen(rates(processing=Rate(90, 100)), rates(processing=Rate(1995, 2000))))
    alert = alarms.alert()
    assert alert.title == (
        "Only 90.00 % of the webhooks that came were handled (less than 95 % for 15 minutes)"
    )
    assert alert.facts == (
        ("Last 15 minutes", "90 of 100 (90.00 %)"),
        ("Last hour", "1995 of 2000 (99.75 %)"),
    )
    assert alert.workflow_id == "inbox/drain"


# ---- nothing billed


@pytest.mark.parametrize(
    ("quarter", "told"),
    [
        (Rate(0, 3), ["critical rate:billing"]),
        (Rate(0, 2), []),
        (Rate(1, 3), []),
        (Rate(0, 500), ["critical rate:billing"]),
    ],
)
def test_that_calls_end_and_none_is_billed_is_critical_however_few(
    quarter: Rate, told: list[str]
) -> None:
    assert told_of(RateName.BILLING, quarter) == told


@pytest.mark.parametrize(
    ("total_", "unowned", "is_told"),
    [(3, 1, False), (19, 17, False), (5, 2, True), (19, 19, False), (20, 20, True)],
)
def test_a_few_calls_that_are_nobodys_are_no_alarm_and_many_are(
    total_: int, unowned: int, *, is_told: bool
) -> None:
    quarter = replace(rates(billing=Rate(0, total_)), unowned=unowned)
    assert Alarms().look(seen(quarter)) == (["critical rate:billing"] if is_told else [])


def test_calls_that_are_nobodys_are_told_as_parked_and_not_once_more_as_not_billed() -> None:
    bad = replace(rates(billing=Rate(80, 100)), unowned=20)
    parked = [total("unknown_assistant", 20)]
    assert Alarms().look(seen(bad, bad, parked=parked)) == ["medium parked:unknown_assistant"]
    worse = replace(bad, unowned=10)
    assert "high rate:billing" in Alarms().look(seen(worse, worse, parked=parked))


@pytest.mark.parametrize("name", [RateName.DELIVERY, RateName.PROCESSING])
def test_that_none_is_billed_is_about_billing_alone(name: RateName) -> None:
    assert told_of(name, Rate(0, 3)) == []


# ---- one cause, told once


def test_a_late_inbox_explains_webhooks_not_handled_and_calls_not_billed() -> None:
    bad = rates(processing=Rate(50, 100), billing=Rate(50, 100))
    alarms = Alarms()
    assert alarms.look(seen(bad, bad, oldest=61)) == ["high inbox"]
    assert alarms.look(seen(bad, bad, oldest=40)) == []
    assert alarms.look(seen(oldest=0)) == ["info inbox"]


def test_what_stays_bad_when_the_inbox_is_drained_has_a_cause_of_its_own() -> None:
    bad = rates(billing=Rate(50, 100))
    alarms = Alarms()
    alarms.look(seen(bad, bad, oldest=61))
    assert alarms.look(seen(bad, bad, oldest=0)) == ["info inbox", "high rate:billing"]


def test_that_no_call_is_billed_is_told_whatever_explains_it() -> None:
    bad = rates(processing=Rate(0, 100), billing=Rate(0, 100))
    assert Alarms().look(seen(bad, bad, oldest=600)) == ["high inbox", "critical rate:billing"]


def test_lost_reports_explain_nothing_else() -> None:
    bad = rates(delivery=Rate(50, 100), billing=Rate(50, 100))
    assert Alarms().look(seen(bad)) == ["high rate:billing", "high rate:delivery"]


# ---- inbox


@pytest.mark.parametrize(
    ("seconds", "told"),
    [([60], []), ([60.1], ["high inbox"]), ([61, 31], ["high inbox"]),
     ([61, 30], ["high inbox", "info inbox"]),
     ([61, 0, 61], ["high inbox", "info inbox", "high inbox"])],
)  # fmt: skip
def test_a_webhook_that_is_due_for_more_than_a_minute_is_told_until_30_seconds(
    seconds: list[float], told: list[str]
) -> None:
    alarms = Alarms()
    assert [one for oldest in seconds for one in alarms.look(seen(oldest=oldest))] == told


# ---- parked


@pytest.mark.parametrize(
    ("minor", "told"),
    [
        ([99_999], []),
        ([100_000], ["high parked-money:gbp"]),
        ([100_000, 80_000], ["high parked-money:gbp"]),
        ([100_000, 79_999], ["high parked-money:gbp", "info parked-money:gbp"]),
    ],
)
def test_money_that_waits_is_told_from_the_threshold_on_until_it_is_a_fifth_less(
    minor: list[int], told: list[str]
) -> None:
    alarms = Alarms()
    rounds = [seen(parked=[total("debt_limit", 3, pounds(one))]) for one in minor]
    assert [one for round_ in rounds for one in alarms.look(round_)] == told


def test_money_is_summed_over_all_reasons_and_each_currency_by_itself() -> None:
    dollars = Money(70_000, Currency.USD)
    parked = [total("debt_limit", 2, pounds(60_000), dollars), total("approval", 1, pounds(40_000))]
    alarms = Alarms()
    assert alarms.look(seen(parked=parked)) == ["high parked-money:gbp"]
    assert alarms.alert().facts == (("debt_limit", "2: 600.00 GBP"), ("approval", "1: 400.00 GBP"))


def test_each_reason_is_told_once_while_any_work_waits_for_it() -> None:
    alarms = Alarms()
    one = total("no_tariff", 1, pounds(56), minutes=0)
    assert alarms.look(seen(parked=[one])) == ["medium parked:no_tariff"]
    alert = alarms.alert()
    assert alert.facts[0] == ("Parked", "1")
    assert alert.facts[2] == ("Money at risk", "0.56 GBP")
    assert alert.view == 'BillingState="parked" AND ParkReason="no_tariff"'
    assert "Add a tariff" in alert.text
    assert alarms.look(seen(parked=[total("no_tariff", 7)])) == []
    assert alarms.look(seen(parked=[total("unknown_assistant")])) == [
        "medium parked:unknown_assistant",
        "info parked:no_tariff",
    ]
    assert alarms.look(seen()) == ["info parked:unknown_assistant"]


@pytest.mark.parametrize("reason", ["fault", "unknown_duration"])
@pytest.mark.parametrize(("minutes", "is_told"), [(5, False), (5.1, True)])
def test_what_heals_by_itself_has_five_minutes_for_it(
    reason: str, minutes: float, is_told: bool
) -> None:
    told = Alarms().look(seen(parked=[total(reason, minutes=minutes)]))
    assert told == ([f"medium parked:{reason}"] if is_told else [])


def test_a_key_that_stripe_refuses_is_told_at_once_though_it_goes_on_by_itself() -> None:
    alarms = Alarms()
    assert alarms.look(seen(parked=[total("key_refused", minutes=0.1)])) == [
        "high parked:key_refused"
    ]
    assert "STRIPE_API_KEY" in alarms.alert().text
    assert alarms.look(seen()) == ["info parked:key_refused"]


@pytest.mark.parametrize("reason", sorted(NEVER_ALERTED))
def test_what_is_the_customers_matter_or_told_elsewhere_is_not_told(reason: str) -> None:
    assert Alarms().look(seen(parked=[total(reason, 1000)])) == []


def test_a_reconciliation_that_is_parked_has_told_of_itself() -> None:
    runs = [total("fault", 2)]
    alarms = Alarms()
    assert alarms.look(seen(parked=[total("fault", 2)], reconciling=runs)) == []
    assert alarms.look(seen(parked=[total("fault", 3)], reconciling=runs)) == [
        "medium parked:fault"
    ]
    assert alarms.alert().title == "1 parked as fault"


# ---- failing workflows


def test_workflows_whose_tasks_fail_are_critical_and_named() -> None:
    alarms = Alarms()
    assert alarms.look(seen(failing=[f"call/{number}" for number in range(9)])) == [
        "critical problems"
    ]
    assert [value for _, value in alarms.alert().facts] == [f"call/{one}" for one in range(5)]
    assert alarms.alert().title.startswith("9 workflows")
    assert alarms.look(seen(failing=["call/10"])) == []
    assert alarms.look(seen()) == ["info problems"]


# ---- the watch itself


@pytest.mark.parametrize(
    ("why", "title"),
    [
        ("OperationalError", "PostgreSQL does not answer since 12:00:00 UTC"),
        ("KeyError", "Nobody has watched over billing since 12:00:00 UTC: KeyError"),
    ],
)
def test_an_outage_is_told_for_what_it_is(why: str, title: str) -> None:
    alert = away(Outage(NOON, why), "watch-billing-1")
    assert (alert.title, alert.level) == (title, AlertLevel.CRITICAL)


def test_its_end_says_how_long_it_was_and_whether_anybody_heard() -> None:
    outage = Outage(NOON, "OperationalError", NOON + timedelta(minutes=12, seconds=5))
    assert over(outage).title == "PostgreSQL answers again, after 12 min 5 s"
    assert "Slack could not be reached" in over(outage).text
    assert "Slack could not be reached" not in over(replace(outage, told=True)).text


# ---- whatever happens

_RATE = st.integers(0, 60).flatmap(lambda of: st.integers(0, of).map(lambda good: Rate(good, of)))
_RATES = st.builds(Rates, _RATE, _RATE, _RATE)
_TOTAL = st.builds(
    lambda reason, count, minor, minutes: total(reason, count, pounds(minor), minutes=minutes),
    st.sampled_from(["fault", "no_tariff", "debt_limit", "unknown_assistant"]),
    st.integers(1, 5),
    st.integers(0, 200_000),
    st.integers(0, 10),
)
_SEEN = st.builds(
    seen,
    _RATES,
    _RATES,
    st.floats(0, 120),
    parked=st.lists(_TOTAL, max_size=4, unique_by=lambda one: one.reason),
    failing=st.lists(st.text(max_size=5), max_size=3),
)


@given(st.lists(_SEEN, max_size=30))
def test_whatever_happens_an_alarm_is_raised_gets_deeper_and_is_over_in_turns(
    rounds: list[Observation],
) -> None:
    alarms = Alarms()
    for one in rounds:
        alarms.look(one)
        assert alarms.look(one) == [], "the same seen twice is no news"
    for _, crossed in groupby(
        sorted(alarms.told, key=lambda one: one.alarm), lambda one: one.alarm
    ):
        depth = 0
        for crossing in crossed:
            assert crossing.depth > depth if crossing.raised else depth
            depth = crossing.depth if crossing.raised else 0


@given(_SEEN)
def test_no_round_both_raises_and_clears_an_alarm(one: Observation) -> None:
    alarms = [crossing.alarm for crossing in decide(one, frozenset(), THRESHOLD)]
    assert len(alarms) == len(set(alarms))
    assert {alarm.partition(":")[0] for alarm in alarms} <= {str(kind) for kind in AlarmKind}


@given(_SEEN, _SEEN)
def test_every_alert_has_a_key_of_its_own_and_fits_into_slack(
    first: Observation, second: Observation
) -> None:
    later = replace(second, at=NOON + timedelta(minutes=1))
    both = [one for seen_ in (first, later) for one in decide(seen_, frozenset(), THRESHOLD)]
    keys = [one.alert.key for one in both]
    assert len(keys) == len(set(keys))
    for one in both:
        assert len(message(one.alert, "https://ui.example")["blocks"]) <= 50
