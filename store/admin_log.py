"""The book of powers: lines are only ever added, each in the transaction of what it tells of."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.adjustments import Who
from billing.admin_log import (
    LONGEST_REASON,
    OVER_CHARGES,
    AdminAction,
    AdminChange,
    AdminLogFilter,
    AdminRecord,
    AdminSubject,
)
from store.database.pages import fits, newest_first
from store.schema import admin_log as table


async def write(connection: AsyncConnection, change: AdminChange) -> AdminRecord | None:
    """Write down a change; None if nothing changes, or it stands in the book already."""
    if not change.is_one:
        return None
    new = insert(table).values(_row(change)).on_conflict_do_nothing(index_elements=["once"])
    row = (await connection.execute(new.returning(table))).one_or_none()
    return None if row is None else _record(row)


async def page(
    connection: AsyncConnection, which: AdminLogFilter, before: int | None, limit: int
) -> list[AdminRecord]:
    """List lines that fit, newest first, from the one before position `before`."""
    subject_id, org_id, action = which.subject, which.org_id, which.action
    query = select(table).where(*fits(table, org_id=org_id, subject_id=subject_id, action=action))
    if (actor := which.actor) is not None:
        columns = (table.c.actor_key_id, table.c.actor, table.c.actor_name)
        query = query.where(or_(*(column == actor for column in columns)))
    if which.recorded_after is not None:
        query = query.where(table.c.recorded_at > which.recorded_after)
    if which.recorded_before is not None:
        query = query.where(table.c.recorded_at < which.recorded_before)
    return await _read(connection, newest_first(query, table.c.position, before, limit))


async def over_charges(
    connection: AsyncConnection,
    org_id: str,
    limit: int,
    *,
    subjects: Collection[str] = (),
    until: datetime | None = None,
) -> tuple[AdminRecord, ...]:
    """Read the newest lines about what decides over an organisation's charges, oldest first.

    Those about some other `subjects` as well; nothing after the moment `until`.
    """
    of_its_own = (table.c.org_id == org_id) & table.c.action.in_(sorted(OVER_CHARGES))
    query = select(table).where(or_(of_its_own, table.c.subject_id.in_(list(subjects))))
    if until is not None:
        query = query.where(table.c.recorded_at <= until)
    found = await _read(connection, newest_first(query, table.c.position, None, limit))
    return tuple(reversed(found))


async def is_known(connection: AsyncConnection, subject_id: str, reason: str) -> bool:
    """Return whether somebody has changed this for that reason; its end may have been cut off."""
    query = select(table.c.position).where(
        table.c.subject_id == subject_id, func.starts_with(table.c.reason, reason)
    )
    return await connection.scalar(query.limit(1)) is not None


async def raised_today(
    connection: AsyncConnection, key_ids: Collection[str], default_minor: int
) -> int:
    """Sum up by how much debt limits were raised today (UTC) with these keys, and alone.

    An organisation that was made with a higher one than `default_minor` counts as raised.
    """
    day = func.date_trunc("day", func.now(), "UTC")
    after = table.c.after["debt_limit_minor"].as_integer()
    before = func.coalesce(table.c.before["debt_limit_minor"].as_integer(), default_minor)
    query = select(func.coalesce(func.sum(func.greatest(after - before, 0)), 0)).where(
        table.c.actor_key_id.in_(list(key_ids)),
        table.c.action.in_([AdminAction.DEBT_LIMIT_CHANGED, AdminAction.ORGANIZATION_MADE]),
        table.c.recorded_at >= day,
        table.c.after["asked_with_key"].is_(None),
    )
    return int(await connection.scalar(query) or 0)


async def debt_limits_asked(connection: AsyncConnection, org_id: str) -> list[AdminRecord]:
    """Read the raises that were asked for since the debt limit was last changed, oldest first."""
    its = (table.c.subject_id == org_id, table.c.subject == AdminSubject.ORGANIZATION)
    changed = select(func.coalesce(func.max(table.c.position), 0)).where(
        *its, table.c.action == AdminAction.DEBT_LIMIT_CHANGED
    )
    query = select(table).where(
        *its,
        table.c.action == AdminAction.DEBT_LIMIT_ASKED,
        table.c.position > changed.scalar_subquery(),
    )
    return await _read(connection, query.order_by(table.c.position))


def _row(change: AdminChange) -> dict[str, Any]:
    return {
        "actor_key_id": change.by.key_id,
        "actor": change.by.label,
        "actor_name": change.by.name,
        "action": change.action,
        "subject": change.subject,
        "subject_id": change.subject_id,
        "org_id": change.org_id,
        "before": change.before,
        "after": change.after,
        "reason": change.reason and change.reason[:LONGEST_REASON],
        "once": change.once,
    }


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[AdminRecord]:
    return [_record(row) for row in await connection.execute(query)]


def _record(row: Any) -> AdminRecord:
    return AdminRecord(
        position=row.position,
        at=row.recorded_at,
        by=Who(row.actor_key_id, row.actor, row.actor_name),
        action=AdminAction(row.action),
        subject=AdminSubject(row.subject),
        subject_id=row.subject_id,
        org_id=row.org_id,
        before=row.before,
        after=row.after,
        reason=row.reason,
    )
