"""What runs of reconciliation found, and what came of it."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import CallState
from billing.money import Currency, Money
from billing.reconciliation import Finding, FindingKind, FindingOutcome, judge
from store import ledger
from store.calls import FACTS
from store.rowset import rowset
from store.schema import calls
from store.schema import reconciliation_findings as table

_new = rowset(column for column in table.c if column.name not in ("position", "found_at"))
_ADD = insert(table).from_select(_new.c.keys(), select(_new)).on_conflict_do_nothing()


async def add(connection: AsyncConnection, run_id: str, found: Iterable[Finding]) -> None:
    """Record what a run found, each subject once."""
    rows = [_row(run_id, finding) for finding in found]
    if rows:
        await connection.execute(_ADD, {"rows": rows})


async def next_open(connection: AsyncConnection, run_id: str, limit: int) -> list[Finding]:
    """Read the findings that are still to be put right, in the order in which they were found."""
    query = (
        select(table)
        .where(table.c.run_id == run_id, table.c.outcome == FindingOutcome.OPEN)
        .order_by(table.c.position)
        .limit(limit)
    )
    return [_finding(row) for row in await connection.execute(query)]


async def review(
    connection: AsyncConnection, run_id: str, subjects: Collection[str], *, last: bool
) -> int:
    """Look at what became of findings that were handed over; answers how many are still open.

    At the `last` look those are recorded as waiting.
    """
    query = select(table).where(
        table.c.run_id == run_id,
        table.c.subject == func.any(list(subjects)),
        table.c.outcome == FindingOutcome.OPEN,
    )
    handed_over = [_finding(row) for row in await connection.execute(query)]
    outcomes = await _outcomes(connection, handed_over)
    still_open = [one for one in handed_over if outcomes[one.subject] is FindingOutcome.OPEN]
    if last:
        outcomes |= {one.subject: FindingOutcome.WAITING for one in still_open}
    for outcome in set(outcomes.values()) - {FindingOutcome.OPEN}:
        judged = [subject for subject, its in outcomes.items() if its is outcome]
        await _set_outcome(connection, run_id, judged, outcome)
    return 0 if last else len(still_open)


async def page(
    connection: AsyncConnection, run_id: str, after: int | None, limit: int
) -> list[Finding]:
    """List what a run found, in the order in which it was found, from the one after `after`."""
    query = select(table).where(table.c.run_id == run_id).order_by(table.c.position).limit(limit)
    if after is not None:
        query = query.where(table.c.position > after)
    return [_finding(row) for row in await connection.execute(query)]


async def _outcomes(
    connection: AsyncConnection, findings: Sequence[Finding]
) -> dict[str, FindingOutcome]:
    due = {key for finding in findings for key in finding.due}
    posted = frozenset(await ledger.by_keys(connection, due))
    query = select(calls.c.call_id, calls.c.state).where(
        calls.c.call_id == func.any([one.subject for one in findings if one.call is not None])
    )
    states = {row.call_id: CallState(row.state) for row in await connection.execute(query)}
    return {one.subject: judge(one, posted, states.get(one.subject)) for one in findings}


async def _set_outcome(
    connection: AsyncConnection, run_id: str, subjects: list[str], outcome: FindingOutcome
) -> None:
    await connection.execute(
        update(table)
        .where(table.c.run_id == run_id, table.c.subject == func.any(subjects))
        .values(outcome=outcome)
    )


def _row(run_id: str, finding: Finding) -> dict[str, Any]:
    call, amount = finding.call, finding.amount
    return {
        "run_id": run_id,
        "subject": finding.subject,
        "kind": finding.kind,
        "outcome": finding.outcome,
        "org_id": finding.org_id,
        "amount_minor": amount and amount.amount_minor,
        "currency": amount and amount.currency,
        "occurred_at": finding.occurred_at,
        "due": finding.due,
        "detail": finding.detail,
        "facts": call and FACTS.dump_python(call, mode="json", exclude_defaults=True),
    }


def _finding(row: Any) -> Finding:
    known = row.amount_minor is not None
    return Finding(
        subject=row.subject,
        kind=FindingKind(row.kind),
        occurred_at=row.occurred_at,
        org_id=row.org_id,
        amount=Money(row.amount_minor, Currency(row.currency)) if known else None,
        due=tuple(row.due),
        detail=row.detail,
        call=row.facts and FACTS.validate_python(row.facts),
        outcome=FindingOutcome(row.outcome),
        position=row.position,
    )
