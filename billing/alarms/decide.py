"""The one place that decides what is raised, what is over, and what is one thing seen twice."""

from collections.abc import Iterator

from billing.alarms.rates import RateDepth, alarm_of, rate_crossing
from billing.alarms.seen import Seen
from billing.alarms.waiting import (
    inbox_crossing,
    money_crossings,
    problem_crossing,
    reason_crossings,
)
from billing.alert import AlarmKind, Crossing
from billing.monitoring import RateName

# What is told already explains a rate that falls with it: a webhook that waits is not handled, and
# one that is not handled is not billed.
_EXPLAINED_BY: dict[str, frozenset[str]] = {
    alarm_of(RateName.PROCESSING): frozenset({AlarmKind.INBOX}),
    alarm_of(RateName.BILLING): frozenset({AlarmKind.INBOX, alarm_of(RateName.PROCESSING)}),
}


def decide(seen: Seen, raised: frozenset[str], parked_money_minor: int) -> list[Crossing]:
    """Say which alarms a round raises and clears; `raised` are those that are raised by now.

    To raise one that is raised as deep already, or to clear one that is not raised, is no news.
    """
    crossings = [
        *inbox_crossing(seen),
        *rate_crossing(RateName.PROCESSING, seen),
        *rate_crossing(RateName.BILLING, seen),
        *rate_crossing(RateName.DELIVERY, seen),
        *problem_crossing(seen),
        *money_crossings(seen, parked_money_minor),
        *reason_crossings(seen, raised),
    ]
    return list(_each_cause_once(crossings, raised))


def _each_cause_once(crossings: list[Crossing], raised: frozenset[str]) -> Iterator[Crossing]:
    """Leave out what something else that is raised explains; that no call is billed, never."""
    holding = set(raised)
    for one in crossings:
        explained = holding & _EXPLAINED_BY.get(one.alarm, frozenset())
        if one.raised and explained and one.depth < RateDepth.NOTHING:
            continue
        (holding.add if one.raised else holding.discard)(one.alarm)
        yield one
