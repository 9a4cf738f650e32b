"""The one place that decides which alarms a round of the watch raises and clears."""

from collections.abc import Iterator

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


def decide(
    observed: Observation, raised: frozenset[str], parked_money_minor: int
) -> list[Crossing]:
    """Return the alarms that a round raises and clears; `raised` are those that are raised by now.

    Some of it may be no news: to raise an alarm that is raised as deep already, or to clear one
    that is not raised.
    """
    crossings = [
        *inbox_crossing(observed),
        *rate_crossing(RateName.PROCESSING, observed),
        *rate_crossing(RateName.BILLING, observed),
        *rate_crossing(RateName.DELIVERY, observed),
        *problem_crossing(observed),
        *money_crossings(observed, parked_money_minor),
        *reason_crossings(observed, raised),
    ]
    return list(_each_cause_once(crossings, raised))


def _each_cause_once(crossings: list[Crossing], raised: frozenset[str]) -> Iterator[Crossing]:
    """Leave out what another raised alarm explains. That no call is billed is never left out."""
    holding = set(raised)
    for one in crossings:
        explained = holding & _EXPLAINED_BY.get(one.alarm, frozenset())
        if one.raised and explained and one.depth < RateDepth.NOTHING:
            continue
        (holding.add if one.raised else holding.discard)(one.alarm)
        yield one
