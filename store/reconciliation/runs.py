"""Runs of reconciliation: where each stands, what it checked, and its report."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import NotFound
from billing.inbox.webhook_event import Source
from billing.ledger.money import Currency, Money
from billing.reconciliation import reconciliation
from billing.reconciliation.reconciliation import (
    FindingKind,
    FindingOutcome,
    Report,
    Run,
    RunStatus,
    Tally,
    Window,
)
from billing.reconciliation.reliability import reliability
from store.database import clock
from store.database.pages import fits, newest_first
from store.schema import reconciliation_days as days
from store.schema import reconciliation_findings as findings
from store.schema import reconciliation_runs as runs

# How many calls or payments were checked, by organisation and day.
Checked = Mapping[tuple[str | None, date], int]


async def open_run(connection: AsyncConnection, run: Run) -> Run:
    """Record that a run has begun, or goes on. Return it.

    A run that goes on keeps the window that was decided when it began: on a conflict only its
    status changes, and not even that once it has finished.
    """
    row = {
        "run_id": run.run_id,
        "source": run.source,
        "workflow_id": run.workflow_id,
        "org_id": run.org_id,
        "dry_run": run.dry_run,
        "daily": run.daily,
        "since": run.window.since,
        "until": run.window.until,
        "status": run.status,
        "started_at": run.started_at,
    }
    await connection.execute(
        insert(runs)
        .values(row)
        .on_conflict_do_update(
            index_elements=["run_id"],
            set_={"status": run.status, "problem": ""},
            where=runs.c.finished_at.is_(None),
        )
    )
    return await read(connection, run.run_id)


async def turn_page(
    connection: AsyncConnection, run_id: str, page: int, reached: datetime | None, checked: Checked
) -> bool:
    """Record that page number `page` (from 1) was compared; return False if it had been before.

    The caller records the page's findings in the same transaction. The condition on the number of
    pages makes each page count once, however often its activity is tried.
    """
    turned = await connection.execute(
        update(runs)
        .where(runs.c.run_id == run_id, runs.c.pages == page - 1)
        .values(pages=page, reached=func.least(runs.c.reached, reached))
    )
    if not turned.rowcount:
        return False
    rows = [
        {"run_id": run_id, "org_id": org_id, "day": day, "checked": count}
        for (org_id, day), count in checked.items()
    ]
    if rows:
        added = insert(days).values(rows)
        await connection.execute(
            added.on_conflict_do_update(
                constraint="reconciliation_days_once",
                set_={"checked": days.c.checked + added.excluded.checked},
            )
        )
    return True


async def set_status(
    connection: AsyncConnection,
    run_id: str,
    status: RunStatus,
    *,
    problem: str = "",
    finished_at: datetime | None = None,
) -> Run:
    """Record where a run stands now, and return it. A run that has finished stays as it is."""
    await connection.execute(
        update(runs)
        .where(runs.c.run_id == run_id, runs.c.finished_at.is_(None))
        .values(status=status, problem=problem, finished_at=finished_at)
    )
    return await read(connection, run_id)


async def read(connection: AsyncConnection, run_id: str) -> Run:
    """Read one run; raise NotFound."""
    found = await connection.execute(select(runs).where(runs.c.run_id == run_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no reconciliation {run_id}")
    return _run(row)


async def page(
    connection: AsyncConnection,
    before: int | None,
    limit: int,
    *,
    source: Source | None = None,
    org_id: str | None = None,
) -> list[Run]:
    """List runs, newest first, from the one before position `before`.

    The runs of an organisation are those that looked at it alone.
    """
    query = select(runs).where(*fits(runs, source=source, org_id=org_id))
    query = newest_first(query, runs.c.position, before, limit)
    return [_run(row) for row in await connection.execute(query)]


async def covered_until(connection: AsyncConnection, source: Source) -> datetime | None:
    """Return up to when successful daily runs have looked at everything; None without any."""
    query = select(func.max(runs.c.until)).where(_is_daily_success(source))
    found: datetime | None = await connection.scalar(query)
    return found


async def last_success(connection: AsyncConnection, source: Source) -> datetime | None:
    """Return when the last daily run succeeded, or else when the first organisation was created.

    None while there is no organisation.
    """
    query = select(func.max(runs.c.finished_at)).where(_is_daily_success(source))
    found: datetime | None = await connection.scalar(query)
    if found is None:
        found = await connection.scalar(text("SELECT min(created_at) FROM organizations"))
    return found


async def tallies(connection: AsyncConnection, run_id: str) -> list[Tally]:
    """Count what a run checked and found, by organisation. What is nobody's comes last."""
    checked_query = select(days.c.org_id, func.sum(days.c.checked)).where(days.c.run_id == run_id)
    checked: dict[str | None, int] = {
        row[0]: row[1] for row in await connection.execute(checked_query.group_by("org_id"))
    }
    found = {row.org_id: row for row in await connection.execute(_COUNTS, {"run": run_id})}
    amounts = (await connection.execute(_AMOUNTS, {"run": run_id})).all()
    org_ids = sorted(checked.keys() | found.keys(), key=lambda one: (one is None, one or ""))
    return [
        _tally(
            org_id,
            checked.get(org_id, 0),
            found.get(org_id),
            [row for row in amounts if row.org_id == org_id],
        )
        for org_id in org_ids
    ]


async def report(connection: AsyncConnection, run_id: str) -> Report:
    """Return the report of a run, as it stands now if it is under way; raise NotFound."""
    run = await read(connection, run_id)
    now = await clock.now(connection)
    return reconciliation.report(run, await tallies(connection, run_id), now)


def _is_daily_success(source: Source) -> Any:
    return and_(
        runs.c.source == source,
        runs.c.daily,
        runs.c.dry_run.is_(False),
        runs.c.status == RunStatus.SUCCEEDED,
    )


def _count(condition: Any) -> Any:
    return func.count().filter(condition)


def _sum(condition: Any) -> Any:
    return func.coalesce(func.sum(findings.c.amount_minor).filter(condition), 0)


_IS_MISSING = findings.c.kind == FindingKind.MISSING
_IS_RECOVERED = findings.c.outcome == FindingOutcome.RECOVERED
_COUNTS = (
    select(
        findings.c.org_id,
        *(_count(findings.c.kind == kind).label(kind.value) for kind in FindingKind),
        _count(_IS_RECOVERED).label("recovered"),
        _count(findings.c.outcome == FindingOutcome.QUARANTINED).label("quarantined"),
        _count(findings.c.outcome.in_((FindingOutcome.OPEN, FindingOutcome.WAITING))).label(
            "waiting"
        ),
    )
    .where(findings.c.run_id == bindparam("run"))
    .group_by(findings.c.org_id)
)
_AMOUNTS = (
    select(
        findings.c.org_id,
        findings.c.currency,
        _sum(_IS_MISSING).label("missing"),
        _sum(_IS_RECOVERED).label("recovered"),
    )
    .where(findings.c.run_id == bindparam("run"), findings.c.currency.is_not(None))
    .group_by(findings.c.org_id, findings.c.currency)
    .order_by(findings.c.currency)
)


def _tally(org_id: str | None, checked: int, row: Any, amounts: Sequence[Any]) -> Tally:
    if row is None:
        return Tally(org_id, checked)
    return Tally(
        org_id=org_id,
        checked=checked,
        missing=row.missing,
        unbilled=row.unbilled,
        drifted=row.drifted,
        orphaned=row.orphaned,
        recovered=row.recovered,
        quarantined=row.quarantined,
        waiting=row.waiting,
        missing_amounts=_amounts((one.currency, one.missing) for one in amounts),
        recovered_amounts=_amounts((one.currency, one.recovered) for one in amounts),
        reliability_percent=reliability(checked, row.missing),
    )


def _amounts(sums: Iterable[tuple[str, int]]) -> tuple[Money, ...]:
    return tuple(Money(int(minor), Currency(currency)) for currency, minor in sums if minor)


def _run(row: Any) -> Run:
    return Run(
        run_id=row.run_id,
        source=Source(row.source),
        workflow_id=row.workflow_id,
        window=Window(row.since, row.until),
        started_at=row.started_at,
        org_id=row.org_id,
        dry_run=row.dry_run,
        daily=row.daily,
        status=RunStatus(row.status),
        finished_at=row.finished_at,
        pages=row.pages,
        reached=row.reached,
        problem=row.problem,
        position=row.position,
    )
