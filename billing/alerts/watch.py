"""The one place that decides which alarms a round of the watch raises and clears."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from billing.alerts.alert import AlarmKind, Crossing
from billing.alerts.backlogs import (
    inbox_crossing,
    money_crossings,
    problem_crossing,
    reason_crossings,
)
from billing.alerts.observation import Observation
from billing.alerts.rates import RateDepth, alarm_of, rate_crossing
from billing.monitoring import RateName

# The alarms that explain another, which is then not raised as well: a webhook that waits is not
# handled, and what is not handled is not billed.
_EXPLAINED_BY: dict[str, frozenset[str]] = {
    alarm_of(RateName.PROCESSING): frozenset({AlarmKind.INBOX}),
    alarm_of(RateName.BILLING): frozenset({AlarmKind.INBOX, alarm_of(RateName.PROCESSING)}),
}


class WatchPart(StrEnum):
    """What a round looks at, each by itself; and the alarms that it sets."""

    INBOX = "inbox"
    RATES = "rates"
    PROBLEMS = "problems"
    PARKED = "parked"
    BALANCES = "balances"
    KEYS = "keys"
    ALARMS = "alarms"


@dataclass(frozen=True, slots=True)
class Round:
    """What was observed, which alarms are raised by now, and how much parked money is too much."""

    observed: Observation
    raised: frozenset[str]
    parked_money_minor: int


@dataclass(frozen=True, slots=True)
class Judgment:
    """Which alarms follow from a part of what was observed. `name` is for the log."""

    name: str
    part: WatchPart
    crossings: Callable[[Round], Iterable[Crossing]]


def _of_rate(name: RateName, one: Round) -> Iterable[Crossing]:
    return rate_crossing(name, one.observed)


# In this order, for what comes first may explain what comes later.
JUDGMENTS = (
    Judgment("the inbox", WatchPart.INBOX, lambda one: inbox_crossing(one.observed)),
    *(
        Judgment(f"the rate {name}", WatchPart.RATES, partial(_of_rate, name))
        for name in (RateName.PROCESSING, RateName.BILLING, RateName.DELIVERY)
    ),
    Judgment("failing workflows", WatchPart.PROBLEMS, lambda one: problem_crossing(one.observed)),
    Judgment(
        "parked money",
        WatchPart.PARKED,
        lambda one: money_crossings(one.observed, one.parked_money_minor),
    ),
    Judgment(
        "reasons to park", WatchPart.PARKED, lambda one: reason_crossings(one.observed, one.raised)
    ),
)


def decide(
    observed: Observation, raised: frozenset[str], parked_money_minor: int
) -> list[Crossing]:
    """Return the alarms that a round raises and clears, if all of it could be looked at.

    Some of it may be no news: to raise an alarm that is raised as deep already, or to clear one
    that is not raised.
    """
    one = Round(observed, raised, parked_money_minor)
    found = [crossing for judgment in JUDGMENTS for crossing in judgment.crossings(one)]
    return each_cause_once(found, raised)


def each_cause_once(crossings: Sequence[Crossing], raised: frozenset[str]) -> list[Crossing]:
    """Leave out what another raised alarm explains. That no call is billed is never left out."""
    return list(_each_cause_once(crossings, raised))


def _each_cause_once(crossings: Sequence[Crossing], raised: frozenset[str]) -> Iterator[Crossing]:
    holding = set(raised)
    for one in crossings:
        explained = holding & _EXPLAINED_BY.get(one.alarm, frozenset())
        if one.raised and explained and one.depth < RateDepth.NOTHING:
            continue
        (holding.add if one.raised else holding.discard)(one.alarm)
        yield one
