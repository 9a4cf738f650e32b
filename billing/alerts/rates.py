"""Alarms about the three success rates: one is below its mark, and the deeper the worse it is."""

from collections.abc import Iterator
from decimal import Decimal
from enum import IntEnum

from billing.alerts.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.alerts.observation import Observation
from billing.monitoring import Rate, RateName, Rates

# Among fewer, a single failure would already be below `QUARTER_MARK`.
FEWEST_TO_JUDGE = 20
# A rate strictly below the first over 15 minutes, or below the second over an hour, is alerted.
QUARTER_MARK = Decimal(95)
HOUR_MARK = Decimal(98)
# From these on the alarm is over.
QUARTER_OVER = Decimal(97)
HOUR_OVER = Decimal(99)
# If this many calls of organisations ended and none of them is billed, it is no coincidence.
FEWEST_FOR_NOTHING = 3


class RateDepth(IntEnum):
    """How bad it is. It is alerted again only if it gets deeper before it is over."""

    WELL = 0
    SOMEWHAT = 1
    BADLY = 2
    NOTHING = 3


_LEVELS = {
    RateDepth.SOMEWHAT: AlertLevel.MEDIUM,
    RateDepth.BADLY: AlertLevel.HIGH,
    RateDepth.NOTHING: AlertLevel.CRITICAL,
}
_WHAT = {
    RateName.DELIVERY: "of the calls that ended were reported by a webhook",
    RateName.PROCESSING: "of the webhooks that came were handled",
    RateName.BILLING: "of the calls that ended are billed",
}
_DO = {
    RateName.DELIVERY: "Reports get lost on their way. Check the server URL and its credential at"
    " Vapi, and whether the API was down. What is found later is billed all the same.",
    RateName.PROCESSING: "Webhooks are accepted and come to nothing. Does a worker run? Look at"
    " the workflow that drains the inbox.",
    RateName.BILLING: "Calls end, their wallets could pay, and they are not charged. Look at the"
    " calls that are parked and at `inbox/drain`, then at the worker's log.",
}
_WORKFLOWS = {RateName.PROCESSING: "inbox/drain"}
_VIEWS = {RateName.BILLING: 'WorkflowType="BillCall" AND ExecutionStatus="Running"'}


def alarm_of(name: RateName) -> str:
    """Return the name of a rate's alarm. Both windows share it, so that one cause has one alert."""
    return AlarmKind.RATE.of(name)


def rate_crossing(name: RateName, observed: Observation) -> Iterator[Crossing]:
    """Yield a rate's alarm: raised as deep as the rate is bad, or cleared.

    Between the mark that raises it and the one that clears it, yield nothing.
    """
    quarter, hour = _of(observed.quarter, name), _of(observed.hour, name)
    is_nothing = name is RateName.BILLING and nothing_is_billed(observed.quarter)
    depth = RateDepth.NOTHING if is_nothing else depth_of(quarter, hour)
    if depth is not RateDepth.WELL:
        yield Crossing(alarm_of(name), True, _below(name, depth, observed), depth)
    elif _is_over(quarter, QUARTER_OVER) and _is_over(hour, HOUR_OVER):
        yield Crossing(alarm_of(name), False, _over(name, observed))


def depth_of(quarter: Rate, hour: Rate) -> RateDepth:
    """Return how bad a rate is. Exactly at its mark it is good enough."""
    if _is_below(quarter, QUARTER_MARK):
        return RateDepth.BADLY
    return RateDepth.SOMEWHAT if _is_below(hour, HOUR_MARK) else RateDepth.WELL


def nothing_is_billed(rates: Rates) -> bool:
    """Return whether calls end and none of them is billed, by more than coincidence.

    A few calls of assistants that nobody registered may be trials. Many are not.
    """
    owned, everything = _of(rates, RateName.BILLING), rates.billing
    is_enough = owned.total >= FEWEST_FOR_NOTHING or everything.total >= FEWEST_TO_JUDGE
    return is_enough and not everything.good


def _is_below(rate: Rate, mark: Decimal) -> bool:
    return rate.total >= FEWEST_TO_JUDGE and rate.percent < mark


def _is_over(rate: Rate, mark: Decimal) -> bool:
    """Return whether a window lets the alarm be over.

    A window with too few to judge does so only if none of them failed. It cannot hold the alarm for
    ever: what failed leaves the window in time, and an empty window lets the alarm be over.
    """
    return rate.percent >= mark if rate.total >= FEWEST_TO_JUDGE else rate.good == rate.total


def _below(name: RateName, depth: RateDepth, observed: Observation) -> Alert:
    return Alert(
        key=f"{alarm_of(name)}:{depth}:{observed.at.isoformat()}",
        level=_LEVELS[depth],
        title=_title(name, depth, observed),
        text=_DO[name],
        facts=_facts(name, observed),
        workflow_id=_WORKFLOWS.get(name),
        view=_VIEWS.get(name),
    )


def _title(name: RateName, depth: RateDepth, observed: Observation) -> str:
    if depth is RateDepth.NOTHING:
        return "Calls end and none of them is billed"
    if depth is RateDepth.BADLY:
        percent, mark, time = _of(observed.quarter, name).percent, QUARTER_MARK, "15 minutes"
    else:
        percent, mark, time = _of(observed.hour, name).percent, HOUR_MARK, "an hour"
    return f"Only {percent} % {_WHAT[name]} (less than {mark} % for {time})"


def _over(name: RateName, observed: Observation) -> Alert:
    hour = _of(observed.hour, name)
    return Alert(
        key=f"{alarm_of(name)}:over:{observed.at.isoformat()}",
        level=AlertLevel.INFO,
        title=f"{hour.percent} % {_WHAT[name]} again"
        if hour.total
        else f"The alarm about {name} is over: there was nothing to judge by for an hour",
        text="No longer below the mark.",
        facts=_facts(name, observed),
    )


def _facts(name: RateName, observed: Observation) -> tuple[tuple[str, str], ...]:
    windows = (("Last 15 minutes", observed.quarter), ("Last hour", observed.hour))
    return tuple((label, _say(_of(rates, name))) for label, rates in windows)


def _say(rate: Rate) -> str:
    return f"{rate.good} of {rate.total} ({rate.percent} %)" if rate.total else "none"


def _of(rates: Rates, name: RateName) -> Rate:
    """Return the rate to judge.

    Calls that are nobody's cannot be billed. They are left out here, for they are alerted as
    parked work.
    """
    match name:
        case RateName.DELIVERY:
            return rates.delivery
        case RateName.PROCESSING:
            return rates.processing
        case RateName.BILLING:
            return Rate(rates.billing.good, rates.billing.total - rates.unowned)
