"""What waits: webhooks in the inbox, and work that is parked until somebody does something."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from billing.alarms.seen import Seen
from billing.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.call import CallState
from billing.money import Currency, Money
from billing.parked import ParkedTotal
from billing.parking import APPROVAL, Parked
from billing.recharge import HoldReason

INBOX_LATE_SECONDS = 60
INBOX_OVER_SECONDS = 30
PARKED_MONEY_MINOR = 100_000
PARKED_MONEY_OVER_PERCENT = 80
# What heals by itself has had this long to do so.
HEALS_WITHIN = timedelta(minutes=5)
PARKED_VIEW = 'BillingState="parked"'
PROBLEMS_VIEW = 'TemporalReportedProblems IS NOT NULL AND ExecutionStatus="Running"'
# Whose matter it is: the customer's; a second operator's, who is told of each; nobody's.
NOBODY_IS_TOLD = frozenset({CallState.DEBT_LIMIT, *HoldReason, APPROVAL, "call_not_ended"})


def inbox_crossing(seen: Seen) -> Iterator[Crossing]:
    """Say whether the oldest webhook has been due for more than a minute, or for 30 s at most."""
    alarm, oldest = AlarmKind.INBOX, int(seen.oldest_due_seconds)
    if seen.oldest_due_seconds > INBOX_LATE_SECONDS:
        title = f"A webhook has waited in the inbox for {oldest} seconds"
        text = "The drain does not run or does not keep up. Does a worker run? Is PostgreSQL slow?"
        yield _crossing(alarm, seen, AlertLevel.HIGH, title, text, workflow_id="inbox/drain")
    elif seen.oldest_due_seconds <= INBOX_OVER_SECONDS:
        yield _over(alarm, seen, "The inbox is drained again")


def money_crossings(seen: Seen, threshold_minor: int) -> Iterator[Crossing]:
    """Say for each currency whether too much money waits with what is parked."""
    sums = _sums(seen.parked)
    for currency in Currency:
        alarm = AlarmKind.PARKED_MONEY.of(currency)
        parked = Money(sums[currency], currency)
        if parked.amount_minor >= threshold_minor:
            title = f"{parked} wait with parked work"
            text = "That much is neither charged nor credited. The reasons are below, with what"
            yield _crossing(
                alarm,
                seen,
                AlertLevel.HIGH,
                title,
                f"{text} to do about each on the page of any of its workflows.",
                facts=_reasons(seen.parked, currency),
                view=PARKED_VIEW,
            )
        elif parked.amount_minor * 100 < threshold_minor * PARKED_MONEY_OVER_PERCENT:
            yield _over(alarm, seen, f"Only {parked} wait with parked work now")


def reason_crossings(seen: Seen, raised: frozenset[str]) -> Iterator[Crossing]:
    """Say for which reasons work waits for a person that did not before, or none waits any more.

    A reconciliation that is parked has an alarm of its own.
    """
    waiting = {one.reason: one for one in told_here(seen.parked, seen.reconciling)}
    for total in waiting.values():
        heals = Parked(total.reason, "").heals
        if not heals or seen.at - total.oldest_since > HEALS_WITHIN:
            yield _waits(total, seen)
    for alarm in sorted(raised):
        kind, _, reason = alarm.partition(":")
        if kind == AlarmKind.PARKED and reason not in waiting:
            yield _over(alarm, seen, f"Nothing is parked as {reason} any more")


def problem_crossing(seen: Seen) -> Iterator[Crossing]:
    """Say whether there are workflows that cannot go on for a bug."""
    alarm = AlarmKind.PROBLEMS
    if not seen.failing:
        yield _over(alarm, seen, "No workflow's tasks fail any more")
        return
    title = f"{seen.failing} workflows cannot go on: their tasks fail"
    text = "A defect in the code, or a worker of another version. Nothing is lost: they go on when"
    yield _crossing(
        alarm,
        seen,
        AlertLevel.CRITICAL,
        title,
        f"{text} a worker runs code that is right. The reason is on each one's page.",
        facts=tuple(("Workflow", workflow_id) for workflow_id in seen.failing_ids),
        view=PROBLEMS_VIEW,
    )


def told_here(
    parked: Sequence[ParkedTotal], elsewhere: Sequence[ParkedTotal]
) -> Iterator[ParkedTotal]:
    """Leave out what has alarms of its own, or is nobody's to decide."""
    counted = defaultdict[str, int](int)
    for other in elsewhere:
        counted[other.reason] += other.count
    for one in parked:
        left = one.count - counted[one.reason]
        if left > 0 and one.reason not in NOBODY_IS_TOLD:
            yield replace(one, count=left)


def _waits(total: ParkedTotal, seen: Seen) -> Crossing:
    money = ", ".join(map(str, total.at_risk)) or "unknown"
    return _crossing(
        AlarmKind.PARKED.of(total.reason),
        seen,
        AlertLevel.MEDIUM,
        f"{total.count} parked as {total.reason}",
        Parked(total.reason, "").advice,
        facts=(
            ("Parked", str(total.count)),
            ("Oldest since", _minute(total.oldest_since)),
            ("Money at risk", money),
        ),
        view=f'{PARKED_VIEW} AND ParkReason="{total.reason}"',
    )


def _reasons(parked: Sequence[ParkedTotal], currency: Currency) -> tuple[tuple[str, str], ...]:
    return tuple(
        (one.reason, f"{one.count}: {money}")
        for one in parked
        for money in one.at_risk
        if money.currency is currency
    )


def _sums(parked: Sequence[ParkedTotal]) -> dict[Currency, int]:
    sums = defaultdict[Currency, int](int)
    for money in (money for one in parked for money in one.at_risk):
        sums[money.currency] += money.amount_minor
    return sums


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _crossing(
    alarm: str,
    seen: Seen,
    level: AlertLevel,
    title: str,
    text: str,
    *,
    facts: tuple[tuple[str, str], ...] = (),
    workflow_id: str | None = None,
    view: str | None = None,
) -> Crossing:
    key = f"{alarm}:{seen.at.isoformat()}"
    alert = Alert(key, level, title, text, None, facts, workflow_id, view)
    return Crossing(alarm, raised=True, alert=alert)


def _over(alarm: str, seen: Seen, title: str) -> Crossing:
    key = f"{alarm}:over:{seen.at.isoformat()}"
    return Crossing(alarm, raised=False, alert=Alert(key, AlertLevel.INFO, title, ""))
