"""Alarms about what waits: webhooks in the inbox, and work that is parked."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from billing.alerts.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.alerts.observation import Observation
from billing.calls.call import CallState
from billing.errors import KeyRefused
from billing.ledger.money import Currency, Money
from billing.parking.parked import APPROVAL, Parked
from billing.parking.parked_work import ParkedTotal
from billing.recharges.recharge import HoldReason

INBOX_LATE_SECONDS = 60
INBOX_OVER_SECONDS = 30
PARKED_MONEY_OVER_PERCENT = 80
# Work that may go on by itself has this long before people are alerted to it.
HEALS_WITHIN = timedelta(minutes=5)
PARKED_VIEW = 'BillingState="parked"'
PROBLEMS_VIEW = 'TemporalReportedProblems IS NOT NULL AND ExecutionStatus="Running"'
# What goes on by itself only after a person has mended something that holds up everything.
TOLD_AT_ONCE = frozenset({KeyRefused.code})
# Reasons that raise no alarm. They are up to the customer, to a second operator (who is alerted to
# each adjustment), or to nobody.
NEVER_ALERTED = frozenset({CallState.DEBT_LIMIT, *HoldReason, APPROVAL, "call_not_ended"})


def inbox_crossing(observed: Observation) -> Iterator[Crossing]:
    """Yield the inbox's alarm: raised if a webhook is due for more than 60 s, cleared from 30 s."""
    alarm, oldest = AlarmKind.INBOX, int(observed.oldest_due_seconds)
    if observed.oldest_due_seconds > INBOX_LATE_SECONDS:
        title = f"A webhook has waited in the inbox for {oldest} seconds"
        text = "The drain does not run or does not keep up. Does a worker run? Is PostgreSQL slow?"
        yield _crossing(alarm, observed, AlertLevel.HIGH, title, text, workflow_id="inbox/drain")
    elif observed.oldest_due_seconds <= INBOX_OVER_SECONDS:
        yield _over(alarm, observed, "The inbox is drained again")


def money_crossings(observed: Observation, threshold_minor: int) -> Iterator[Crossing]:
    """Yield an alarm for each currency, raised if too much money of it waits with parked work."""
    sums = _sums(observed.parked)
    for currency in Currency:
        alarm = AlarmKind.PARKED_MONEY.of(currency)
        parked = Money(sums[currency], currency)
        if parked.amount_minor >= threshold_minor:
            title = f"{parked} wait with parked work"
            text = "That much is neither charged nor credited. The reasons are below, with what"
            yield _crossing(
                alarm,
                observed,
                AlertLevel.HIGH,
                title,
                f"{text} to do about each on the page of any of its workflows.",
                facts=_reasons(observed.parked, currency),
                view=PARKED_VIEW,
            )
        elif parked.amount_minor * 100 < threshold_minor * PARKED_MONEY_OVER_PERCENT:
            yield _over(alarm, observed, f"Only {parked} wait with parked work now")


def reason_crossings(observed: Observation, raised: frozenset[str]) -> Iterator[Crossing]:
    """Yield an alarm for each reason for which work waits for a person; clear the other reasons'.

    A reconciliation that is parked has an alarm of its own.
    """
    waiting = {one.reason: one for one in _alerted_here(observed.parked, observed.reconciling)}
    for total in waiting.values():
        heals = Parked(total.reason, "").heals
        if (
            not heals
            or total.reason in TOLD_AT_ONCE
            or observed.at - total.oldest_since > HEALS_WITHIN
        ):
            yield _waits(total, observed)
    for alarm in sorted(raised):
        kind, _, reason = alarm.partition(":")
        if kind == AlarmKind.PARKED and reason not in waiting:
            yield _over(alarm, observed, f"Nothing is parked as {reason} any more")


def problem_crossing(observed: Observation) -> Iterator[Crossing]:
    """Yield the alarm about workflows that cannot go on because of a bug."""
    alarm = AlarmKind.PROBLEMS
    if not observed.failing:
        yield _over(alarm, observed, "No workflow's tasks fail any more")
        return
    title = f"{observed.failing} workflows cannot go on: their tasks fail"
    text = "A defect in the code, or a worker of another version. Nothing is lost: they go on when"
    yield _crossing(
        alarm,
        observed,
        AlertLevel.CRITICAL,
        title,
        f"{text} a worker runs code that is right. The reason is on each one's page.",
        facts=tuple(("Workflow", workflow_id) for workflow_id in observed.failing_ids),
        view=PROBLEMS_VIEW,
    )


def _alerted_here(
    parked: Sequence[ParkedTotal], elsewhere: Sequence[ParkedTotal]
) -> Iterator[ParkedTotal]:
    """Leave out what has alarms `elsewhere`, and what never raises one."""
    counted = defaultdict[str, int](int)
    for other in elsewhere:
        counted[other.reason] += other.count
    for one in parked:
        left = one.count - counted[one.reason]
        if left > 0 and one.reason not in NEVER_ALERTED:
            yield replace(one, count=left)


def _waits(total: ParkedTotal, observed: Observation) -> Crossing:
    money = ", ".join(map(str, total.at_risk)) or "unknown"
    return _crossing(
        AlarmKind.PARKED.of(total.reason),
        observed,
        AlertLevel.HIGH if total.reason in TOLD_AT_ONCE else AlertLevel.MEDIUM,
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
    observed: Observation,
    level: AlertLevel,
    title: str,
    text: str,
    *,
    facts: tuple[tuple[str, str], ...] = (),
    workflow_id: str | None = None,
    view: str | None = None,
) -> Crossing:
    key = f"{alarm}:{observed.at.isoformat()}"
    alert = Alert(key, level, title, text, None, facts, workflow_id, view)
    return Crossing(alarm, raised=True, alert=alert)


def _over(alarm: str, observed: Observation, title: str) -> Crossing:
    key = f"{alarm}:over:{observed.at.isoformat()}"
    return Crossing(alarm, raised=False, alert=Alert(key, AlertLevel.INFO, title, ""))
