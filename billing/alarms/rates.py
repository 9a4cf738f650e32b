"""The three success rates: told when one falls below its mark, deeper when it is worse."""

from collections.abc import Iterator
from decimal import Decimal
from enum import IntEnum

from billing.alarms.seen import Seen
from billing.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.monitoring import Rate, RateName, Rates

# Of fewer, a single one that fails would be more than the share that may.
FEWEST_TO_JUDGE = 20
# Below the first for 15 minutes, or below the second for an hour, is told; strictly below.
QUARTER_MARK = Decimal(95)
HOUR_MARK = Decimal(98)
# From these on it is over.
QUARTER_OVER = Decimal(97)
HOUR_OVER = Decimal(99)
# As many calls of organisations that ended, and not one of them billed, is no chance.
FEWEST_FOR_NOTHING = 3


class RateDepth(IntEnum):
    """How bad it is; told again only if it gets deeper before it is over."""

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
    """Name the alarm of a rate: one for both of its windows, or one cause would be told twice."""
    return AlarmKind.RATE.of(name)


def rate_crossing(name: RateName, seen: Seen) -> Iterator[Crossing]:
    """Say whether a rate's alarm is to be raised, and how deep, or is over; or neither."""
    quarter, hour = _of(seen.quarter, name), _of(seen.hour, name)
    is_nothing = name is RateName.BILLING and nothing_is_billed(seen.quarter)
    depth = RateDepth.NOTHING if is_nothing else depth_of(quarter, hour)
    if depth is not RateDepth.WELL:
        yield Crossing(alarm_of(name), True, _below(name, depth, seen), depth)
    elif _is_over(quarter, QUARTER_OVER) and _is_over(hour, HOUR_OVER):
        yield Crossing(alarm_of(name), False, _over(name, seen))


def depth_of(quarter: Rate, hour: Rate) -> RateDepth:
    """Say how bad a rate is. Exactly at its mark it is good enough."""
    if _is_below(quarter, QUARTER_MARK):
        return RateDepth.BADLY
    return RateDepth.SOMEWHAT if _is_below(hour, HOUR_MARK) else RateDepth.WELL


def nothing_is_billed(rates: Rates) -> bool:
    """Say whether calls end and none is billed, and that is no chance.

    A few that are nobody's may be tried before they are registered; many were registered.
    """
    owned, everything = _of(rates, RateName.BILLING), rates.billing
    is_enough = owned.total >= FEWEST_FOR_NOTHING or everything.total >= FEWEST_TO_JUDGE
    return is_enough and not everything.good


def _is_below(rate: Rate, mark: Decimal) -> bool:
    return rate.total >= FEWEST_TO_JUDGE and rate.percent < mark


def _is_over(rate: Rate, mark: Decimal) -> bool:
    """Say whether a window stands in the way of the alarm's being over.

    One with too few to judge does if any of them failed. That ends: what failed leaves the window,
    and an empty one stands in nobody's way.
    """
    return rate.percent >= mark if rate.total >= FEWEST_TO_JUDGE else rate.good == rate.total


def _below(name: RateName, depth: RateDepth, seen: Seen) -> Alert:
    return Alert(
        key=f"{alarm_of(name)}:{depth}:{seen.at.isoformat()}",
        level=_LEVELS[depth],
        title=_title(name, depth, seen),
        text=_DO[name],
        facts=_facts(name, seen),
        workflow_id=_WORKFLOWS.get(name),
        view=_VIEWS.get(name),
    )


def _title(name: RateName, depth: RateDepth, seen: Seen) -> str:
    if depth is RateDepth.NOTHING:
        return "Calls end and none of them is billed"
    if depth is RateDepth.BADLY:
        percent, mark, time = _of(seen.quarter, name).percent, QUARTER_MARK, "15 minutes"
    else:
        percent, mark, time = _of(seen.hour, name).percent, HOUR_MARK, "an hour"
    return f"Only {percent} % {_WHAT[name]} (less than {mark} % for {time})"


def _over(name: RateName, seen: Seen) -> Alert:
    hour = _of(seen.hour, name)
    return Alert(
        key=f"{alarm_of(name)}:over:{seen.at.isoformat()}",
        level=AlertLevel.INFO,
        title=f"{hour.percent} % {_WHAT[name]} again"
        if hour.total
        else f"The alarm about {name} is over: there was nothing to judge by for an hour",
        text="No longer below the mark.",
        facts=_facts(name, seen),
    )


def _facts(name: RateName, seen: Seen) -> tuple[tuple[str, str], ...]:
    windows = (("Last 15 minutes", seen.quarter), ("Last hour", seen.hour))
    return tuple((label, _say(_of(rates, name))) for label, rates in windows)


def _say(rate: Rate) -> str:
    return f"{rate.good} of {rate.total} ({rate.percent} %)" if rate.total else "none"


def _of(rates: Rates, name: RateName) -> Rate:
    """Take what is judged; calls that are nobody's are not billed, and told of as parked."""
    match name:
        case RateName.DELIVERY:
            return rates.delivery
        case RateName.PROCESSING:
            return rates.processing
        case RateName.BILLING:
            return Rate(rates.billing.good, rates.billing.total - rates.unowned)
