"""Record runs of reconciliation and their findings as the worker does."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.inbox.webhook_event import Source
from billing.ledger.money import Currency, Money
from billing.reconciliation.reconciliation import Finding, FindingKind, Run, RunStatus, Window
from store.reconciliation import findings, runs
from tests.support.factories import NOON, unique

Checked = dict[tuple[str | None, date], int]
MIDNIGHT = NOON.replace(hour=0)
DAY = timedelta(days=1)


def a_run(
    *,
    source: Source = Source.VAPI,
    org_id: str | None = None,
    dry_run: bool = False,
    window: Window | None = None,
) -> Run:
    """Return a run, which by default is over the day of NOON."""
    return Run(
        run_id=unique("run"),
        source=source,
        workflow_id=f"reconcile-{source}/{org_id or 'all'}/latest",
        window=window or Window(MIDNIGHT, MIDNIGHT + DAY),
        started_at=NOON + DAY,
        org_id=org_id,
        dry_run=dry_run,
        daily=org_id is None,
    )


def a_finding(
    org_id: str | None = None,
    pence: int | None = None,
    *,
    kind: FindingKind = FindingKind.MISSING,
    subject: str | None = None,
    occurred_at: datetime = NOON,
    currency: Currency = Currency.GBP,
) -> Finding:
    amount = None if pence is None else Money(pence, currency)
    return Finding(subject or unique("call"), kind, occurred_at, org_id, amount)


async def record(
    engine: AsyncEngine,
    run: Run,
    checked: Checked | None = None,
    *found: Finding,
    status: RunStatus = RunStatus.SUCCEEDED,
) -> Run:
    """Record a run that compared one page, and ended a minute after it began if it succeeded."""
    async with engine.begin() as connection:
        await runs.open_run(connection, run)
        await runs.turn_page(connection, run.run_id, 1, run.window.since, checked or {})
        await findings.add(connection, run.run_id, found)
        ended = run.started_at + timedelta(minutes=1) if status is RunStatus.SUCCEEDED else None
        return await runs.set_status(connection, run.run_id, status, finished_at=ended)


def on(day: datetime, counts: Mapping[str | None, int]) -> Checked:
    """Return how many were checked on one day, by organisation."""
    return {(org_id, day.date()): count for org_id, count in counts.items()}
