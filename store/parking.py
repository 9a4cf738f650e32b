"""What people have said about work that waits; rows are only ever added."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.adjustments import ApprovalVerdict
from billing.parking.parked_work import DecisionRecord, Verdict
from store.database.pages import fits, newest_first
from store.schema import decisions as table

_VERDICT: TypeAdapter[Verdict | ApprovalVerdict] = TypeAdapter(Verdict | ApprovalVerdict)


async def record(
    connection: AsyncConnection, records: Sequence[DecisionRecord]
) -> list[DecisionRecord]:
    """Record what was said, in the order in which it was; what is recorded already stays.

    Return what is new.
    """
    rows = [_row(one) for one in records]
    if not rows:
        return []
    new = insert(table).values(rows).on_conflict_do_nothing().returning(table)
    return [_record(row) for row in await connection.execute(new)]


async def is_discarded(connection: AsyncConnection, workflow_id: str, who_and_why: str) -> bool:
    """Return whether somebody has given a process up in these words."""
    found = exists().where(
        table.c.workflow_id == workflow_id,
        table.c.verdict == Verdict.DISCARD,
        table.c.who_and_why == who_and_why,
    )
    return bool(await connection.scalar(select(found)))


async def page(
    connection: AsyncConnection,
    before: int | None,
    limit: int,
    *,
    workflow_id: str | None = None,
    org_id: str | None = None,
) -> list[DecisionRecord]:
    """List what was said, newest first, from the one before position `before`."""
    query = select(table).where(*fits(table, workflow_id=workflow_id, org_id=org_id))
    query = newest_first(query, table.c.position, before, limit)
    return [_record(row) for row in await connection.execute(query)]


def _row(record: DecisionRecord) -> dict[str, Any]:
    return {
        "workflow_id": record.workflow_id,
        "run_id": record.run_id,
        "number": record.number,
        "verdict": record.verdict,
        "who_and_why": record.who_and_why,
        "org_id": record.org_id,
        "reason": record.reason,
        "decided_at": record.decided_at,
    }


def _record(row: Any) -> DecisionRecord:
    return DecisionRecord(
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        number=row.number,
        verdict=_VERDICT.validate_python(row.verdict),
        who_and_why=row.who_and_why,
        org_id=row.org_id,
        reason=row.reason,
        decided_at=row.decided_at,
        position=row.position,
    )
