"""What people are told about a reconciliation: one alert a crossing, and one when it is over."""

from collections.abc import Iterator
from datetime import datetime

from billing.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.money import Money
from billing.reconciliation import (
    OVERDUE_AFTER,
    Report,
    Run,
    Tally,
    is_unreliable,
)
from billing.reliability import ALERT_BELOW_PERCENT
from billing.webhook import Source

_LOSS = {
    Source.VAPI: "Calls ended at Vapi and no report of them came. Check the server URL and its"
    " credential at Vapi, and whether the API was down. What could be billed has been billed.",
    Source.STRIPE: "Payments were made at Stripe and no event of them came. Check the webhook"
    " endpoint in Stripe's dashboard. What could be credited has been credited.",
}


def crossings(report: Report) -> Iterator[Crossing]:
    """Say which alarms a daily run raises and clears: in total, and of each organisation it saw."""
    run = report.run
    yield Crossing(AlarmKind.RECONCILIATION_FAILED.of(run.source), False, _went_through(report))
    yield _reliability(report, report.total, "all organisations")
    for tally in report.organizations:
        if tally.org_id is not None and tally.checked:
            yield _reliability(report, tally, tally.org_id)
    yield _orphans(report)


def notes(report: Report) -> Iterator[Alert]:
    """Say what is told of a run though no alarm changes.

    By a daily run: that it recovered something, while webhooks were reliable enough. A run that was
    asked for looks at some other time: what it found is told once, and is no alarm.
    """
    unreliable = is_unreliable(report.total)
    if report.total.recovered and not unreliable:
        yield _told(report, AlertLevel.INFO, "recovered", _recovered_title(report))
    elif unreliable and not report.run.daily:
        yield _told(report, AlertLevel.HIGH, "unreliable", _loss_title(report, report.total))


def failed(run: Run, problem: str) -> Crossing:
    """Say that a run is stuck: what it had to do is not done."""
    alert = Alert(
        key=f"{run.run_id}:failed",
        level=AlertLevel.CRITICAL,
        title=f"The reconciliation with {run.source.capitalize()} failed",
        text=f"{problem}\nIt is parked, tries again by itself, and goes on where it was. Mend the"
        " cause, then reprocess it.",
        org_id=run.org_id,
        workflow_id=run.workflow_id,
    )
    return Crossing(AlarmKind.RECONCILIATION_FAILED.of(run.source), True, alert)


def overdue(source: Source, last_success: datetime, now: datetime) -> Crossing:
    """Say whether the last daily run is longer ago than 26 hours."""
    late = now - last_success > OVERDUE_AFTER
    hours = int((now - last_success).total_seconds() // 3600)
    alert = Alert(
        key=f"reconciliation-overdue:{source}:{last_success.isoformat()}:{late}",
        level=AlertLevel.CRITICAL if late else AlertLevel.INFO,
        title=f"No reconciliation with {source.capitalize()} for {hours} hours"
        if late
        else f"Reconciled with {source.capitalize()} again",
        text="Is the schedule paused? Does a worker run? Is the last run parked? Trigger it:"
        f" `temporal schedule trigger --schedule-id reconcile-{source}`. It looks at everything"
        " since the last success."
        if late
        else "A daily run has succeeded.",
        facts=(("Last success", f"{last_success:%Y-%m-%d %H:%M} UTC"),),
    )
    return Crossing(AlarmKind.RECONCILIATION_OVERDUE.of(source), late, alert)


def _reliability(report: Report, tally: Tally, who: str) -> Crossing:
    run, unreliable = report.run, is_unreliable(tally)
    title = (
        _loss_title(report, tally)
        if unreliable
        else f"{tally.reliability_percent} % of {run.source.capitalize()}'s webhooks arrive again"
    )
    alert = Alert(
        key=f"{run.run_id}:reliability:{tally.org_id}",
        level=AlertLevel.HIGH if unreliable else AlertLevel.INFO,
        title=title,
        text=_LOSS[run.source] if unreliable else "No longer below the mark.",
        org_id=tally.org_id,
        facts=(("Of", who), *_facts(tally)),
        workflow_id=run.workflow_id,
    )
    about = f"{run.source}:{tally.org_id or '*'}"
    return Crossing(AlarmKind.RELIABILITY.of(about), unreliable, alert)


def _orphans(report: Report) -> Crossing:
    run, found = report.run, report.total.orphaned
    alert = Alert(
        key=f"{run.run_id}:orphans",
        level=AlertLevel.HIGH if found else AlertLevel.INFO,
        title=f"{found} ledger entries have no reason at {run.source.capitalize()}",
        text="The ledger holds credits that the provider knows nothing of. Nothing was changed:"
        f" look at the findings of run {run.run_id}."
        if found
        else "Every credit has its payment again.",
        workflow_id=run.workflow_id,
    )
    return Crossing(AlarmKind.ORPHANS.of(run.source), bool(found), alert)


def _went_through(report: Report) -> Alert:
    return _told(
        report,
        AlertLevel.INFO,
        "succeeded",
        f"The reconciliation with {report.run.source.capitalize()} went through",
    )


def _told(report: Report, level: AlertLevel, what: str, title: str) -> Alert:
    run = report.run
    return Alert(
        key=f"{run.run_id}:{what}",
        level=level,
        title=title,
        text=f"From {run.window.since:%Y-%m-%d %H:%M} to {run.window.until:%Y-%m-%d %H:%M} UTC.",
        org_id=run.org_id,
        facts=_facts(report.total),
        workflow_id=run.workflow_id,
    )


def _recovered_title(report: Report) -> str:
    return f"{report.total.recovered} recovered by the reconciliation with" + (
        f" {report.run.source.capitalize()}"
    )


def _loss_title(report: Report, tally: Tally) -> str:
    return (
        f"Only {tally.reliability_percent} % of {report.run.source.capitalize()}'s webhooks arrived"
        f" (less than {ALERT_BELOW_PERCENT} %)"
    )


def _facts(tally: Tally) -> tuple[tuple[str, str], ...]:
    return (
        ("Checked", str(tally.checked)),
        ("Missing", str(tally.missing)),
        ("Recovered", str(tally.recovered)),
        ("Quarantined", str(tally.quarantined)),
        ("Reliability", f"{tally.reliability_percent} %"),
        ("Revenue recovered", _money(tally.recovered_amounts)),
    )


def _money(amounts: tuple[Money, ...]) -> str:
    return ", ".join(map(str, amounts)) or "nothing"
