"""Alerts and alarms about reconciliations."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from billing.alerts.alert import AlarmKind, Alert, AlertLevel, Crossing
from billing.inbox.webhook_event import Source
from billing.ledger.money import Money
from billing.reconciliation.reconciliation import OVERDUE_AFTER, Report, Run, Tally, is_unreliable
from billing.reconciliation.reliability import ALERT_BELOW_PERCENT

_MOST_NAMED = 20
_LOSS = {
    Source.VAPI: "Calls ended at Vapi and no report of them came. Check the server URL and its"
    " credential at Vapi, and whether the API was down. What could be billed has been billed.",
    Source.STRIPE: "Payments were made at Stripe and no event of them came. Check the webhook"
    " endpoint in Stripe's dashboard. What could be credited has been credited.",
}


def crossings(report: Report, cards: int = 0) -> Iterator[Crossing]:
    """Yield the alarms that a daily run raises and clears.

    Reliability has an alarm in total, and one for each organisation that the run saw. `cards` is of
    how many organisations no card can be charged until a person does something.
    """
    run = report.run
    yield Crossing(AlarmKind.RECONCILIATION_FAILED.of(run.source), False, _went_through(report))
    yield _reliability(report, report.total, "all organisations")
    for tally in report.organizations:
        if tally.org_id is not None and tally.checked:
            yield _reliability(report, tally, tally.org_id)
    yield _orphans(report)
    if run.source is Source.STRIPE:
        yield _cards(report, cards)


def notes(report: Report) -> Iterator[Alert]:
    """Yield the alerts about a run that come without an alarm.

    A run that recovered something while webhooks were reliable enough has one. A run that somebody
    asked for looks at any time in the past, so what it finds is alerted once, and raises no alarm.
    """
    unreliable = is_unreliable(report.total)
    if report.total.recovered and not unreliable:
        yield _alert(report, AlertLevel.INFO, "recovered", _recovered_title(report))
    elif unreliable and not report.run.daily:
        yield _alert(report, AlertLevel.HIGH, "unreliable", _loss_title(report, report.total))


def failed(run: Run, problem: str) -> Crossing:
    """Return the raised alarm of a run that is parked: what it had to do is not done."""
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


def unrecorded(run: Run, subjects: Sequence[str]) -> Alert:
    """Return the alert about what a run found and cannot record; once a run and first of them."""
    return Alert(
        key=f"{run.run_id}:unrecorded:{subjects[0]}",
        level=AlertLevel.HIGH,
        title=f"Of what differs at {run.source.capitalize()}, {len(subjects)} cannot be recorded",
        text="PostgreSQL fails for these alone: the worker's log says by what error. Nobody looks"
        " at them before the next run does. All others are recorded and put right.",
        facts=(("Calls or payments", ", ".join(subjects[:_MOST_NAMED])),),
        workflow_id=run.workflow_id,
    )


def overdue(source: Source, last_success: datetime, now: datetime) -> Crossing:
    """Return the alarm about the last daily run, raised if that is more than 26 hours ago."""
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


def _cards(report: Report, count: int) -> Crossing:
    """Return the alarm about cards and customers that are gone; more of them are news."""
    run = report.run
    alert = Alert(
        key=f"{run.run_id}:cards",
        level=AlertLevel.HIGH if count else AlertLevel.INFO,
        title=f"{count} organisations are recharged, and have no card at Stripe"
        if count
        else "Everybody who is recharged has a card at Stripe again",
        text="The card or the customer is gone, or Stripe does not know it; calls will be refused"
        " when the money is used up. Ask them to top up by checkout with `save_card`. Which, and"
        f" why: `GET /v1/reconciliations/{run.run_id}/findings`, under `recharge/…`."
        if count
        else "Nothing to do.",
        workflow_id=run.workflow_id,
    )
    return Crossing(AlarmKind.CARDS.of(run.source), bool(count), alert, depth=count or 1)


def _went_through(report: Report) -> Alert:
    return _alert(
        report,
        AlertLevel.INFO,
        "succeeded",
        f"The reconciliation with {report.run.source.capitalize()} went through",
    )


def _alert(report: Report, level: AlertLevel, what: str, title: str) -> Alert:
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
