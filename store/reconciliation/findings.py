"""What runs of reconciliation found, and what came of it."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState, EndedCall
from billing.ledger.money import Currency, Money
from billing.reconciliation.call_comparison import judge
from billing.reconciliation.reconciliation import Finding, FindingKind, FindingOutcome
from store.calls import waiting_calls
from store.calls.call_records import FACTS
from store.database.pages import in_order
from store.database.rowset import rowset
from store.ledger import ledger
from store.schema import calls, wallets
from store.schema import reconciliation_findings as table

_MADE_HERE = ("position", "found_at", "handed_on_at")
_new = rowset(column for column in table.c if column.name not in _MADE_HERE)
_ADD = insert(table).from_select(_new.c.keys(), select(_new)).on_conflict_do_nothing()


async def add(connection: AsyncConnection, run_id: str, found: Iterable[Finding]) -> None:
    """Record what a run found. A subject that was found in this run before stays as it is."""
    rows = [_row(run_id, finding) for finding in found]
    if rows:
        await connection.execute(_ADD, {"rows": rows})


async def open_ones(connection: AsyncConnection, run_id: str, limit: int) -> list[str]:
    """List the subjects of up to `limit` findings that are still to be put right, in order."""
    query = (
        select(table.c.subject)
        .where(table.c.run_id == run_id, table.c.outcome == FindingOutcome.OPEN)
        .order_by(table.c.position)
        .limit(limit)
    )
    return list(await connection.scalars(query))


async def hand_on(
    connection: AsyncConnection, run_id: str, subjects: Collection[str]
) -> list[Finding]:
    """Take findings of a run to put them right, in the order they were found.

    The time is kept. A state that a call reached before it does not say what came of the finding.
    """
    taken = await connection.execute(
        update(table)
        .where(table.c.run_id == run_id, table.c.subject == func.any(list(subjects)))
        .values(handed_on_at=func.now())
        .returning(*table.c)
    )
    return sorted((_finding(row) for row in taken), key=lambda finding: finding.position)


async def review(
    connection: AsyncConnection, run_id: str, subjects: Collection[str], *, last: bool
) -> int:
    """Record what became of findings that were handed on; return how many are still open.

    At the `last` look those are recorded as waiting, and none is open.
    """
    query = select(table).where(
        table.c.run_id == run_id,
        table.c.subject == func.any(list(subjects)),
        table.c.outcome == FindingOutcome.OPEN,
    )
    handed_on = [_finding(row) for row in await connection.execute(query)]
    outcomes = await _outcomes(connection, run_id, handed_on)
    still_open = [one for one in handed_on if outcomes[one.subject] is FindingOutcome.OPEN]
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
    query = select(table).where(table.c.run_id == run_id)
    query = in_order(query, table.c.position, after, limit)
    return [_finding(row) for row in await connection.execute(query)]


async def reported_about(connection: AsyncConnection, run_id: str, prefix: str) -> int:
    """Count what a run has reported of subjects that begin like this."""
    query = select(func.count()).where(
        table.c.run_id == run_id,
        table.c.subject.startswith(prefix, autoescape=True),
        table.c.outcome == FindingOutcome.REPORTED,
    )
    return int(await connection.scalar(query) or 0)


async def _outcomes(
    connection: AsyncConnection, run_id: str, findings: Sequence[Finding]
) -> dict[str, FindingOutcome]:
    due = {key for finding in findings for key in finding.due}
    posted = frozenset(await ledger.by_keys(connection, due))
    states = await _states(connection, run_id, [one.subject for one in findings])
    return {one.subject: judge(one, posted, states.get(one.subject)) for one in findings}


async def _states(
    connection: AsyncConnection, run_id: str, subjects: Collection[str]
) -> dict[str, CallState]:
    """Read the states of the calls of which these say what came of them.

    They are settled, or were tried since they were handed on, or their wallets cannot pay them:
    what is refused as before is not written down again.
    """
    due = func.coalesce(table.c.amount_minor, waiting_calls.OWED)
    query = (
        select(calls.c.call_id, calls.c.state)
        .join(table, table.c.subject == calls.c.call_id)
        .outerjoin(wallets, wallets.c.org_id == calls.c.org_id)
        .where(table.c.run_id == run_id, table.c.subject == func.any(list(subjects)))
        .where(
            or_(
                calls.c.state == CallState.SETTLED,
                calls.c.updated_at >= table.c.handed_on_at,
                and_(
                    calls.c.state == CallState.DEBT_LIMIT,
                    due > wallets.c.balance_minor + wallets.c.debt_limit_minor,
                ),
            )
        )
    )
    return {row.call_id: CallState(row.state) for row in await connection.execute(query)}


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
    """Read a finding; of one that nobody can read, as much as finds its process."""
    try:
        return _read(row)
    except (ValueError, TypeError):
        return Finding(
            subject=row.subject,
            kind=FindingKind.UNBILLED,
            occurred_at=row.occurred_at,
            org_id=row.org_id,
            detail="what was found cannot be read any more",
            call=EndedCall(row.subject) if row.facts is not None else None,
            outcome=FindingOutcome.OPEN,
            position=row.position,
        )


def _read(row: Any) -> Finding:
    known = row.amount_minor is not None
    return Finding(
        subject=row.subject,
        kind=FindingKind(row.kind),
        occurred_at=row.occurred_at,
        org_id=row.org_id,
        amount=Money(row.amount_minor, Currency(row.currency)) if known else None,
        due=tuple(row.due),
        detail=row.detail,
        call=None if row.facts is None else FACTS.validate_python(row.facts),
        outcome=FindingOutcome(row.outcome),
        position=row.position,
    )
