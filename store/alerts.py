"""The outbox of alerts, and the alarms whose crossings raise them.

Alerts are stored in the transaction that found their reason, so that neither is there without the
other; a process of its own delivers them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alert import Alert, AlertLevel, AlertRecord
from store.schema import alarms
from store.schema import alerts as table

_WAITS = (table.c.delivered_at.is_(None), table.c.problem.is_(None))

_RAISE = (
    insert(alarms)
    .values(alarm=bindparam("name"), raised=True)
    .on_conflict_do_update(
        index_elements=["alarm"],
        set_={"raised": True, "since": func.now()},
        where=alarms.c.raised.is_(False),
    )
    .returning(alarms.c.alarm)
)
# An alarm that was never raised has no row, and none is made for saying that it is not raised.
_CLEAR = (
    update(alarms)
    .where(alarms.c.alarm == bindparam("name"), alarms.c.raised)
    .values(raised=False, since=func.now())
    .returning(alarms.c.alarm)
)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What waits to be delivered: how many alerts, and how long the oldest has waited."""

    count: int
    oldest_seconds: float


async def tell(connection: AsyncConnection, alert: Alert) -> bool:
    """Store an alert for delivery; False when one of this key was stored before."""
    stored = await connection.execute(
        insert(table).values(_row(alert)).on_conflict_do_nothing().returning(table.c.key)
    )
    return stored.first() is not None


async def cross(connection: AsyncConnection, alarm: str, *, raised: bool, alert: Alert) -> bool:
    """Set whether an alarm is raised, and tell the alert if that changes; False if nothing is told.

    An alarm never seen is as good as not raised. Of any number of transactions that see the same
    crossing at once, one changes the alarm: the others wait for its row and find it changed. The
    alert's key must name this crossing (the day, the run), or the next one would be told to nobody.
    """
    changed = await connection.execute(_RAISE if raised else _CLEAR, {"name": alarm})
    return changed.first() is not None and await tell(connection, alert)


async def cross_all(
    connection: AsyncConnection, prefix: str, wanted: Collection[str]
) -> tuple[set[str], set[str]]:
    """Raise these alarms, and clear every other one whose name begins with `prefix`.

    Answers which of them are raised now that were not, and which no longer are; the caller tells of
    both. For one caller at a time.
    """
    query = select(alarms.c.alarm).where(
        alarms.c.alarm.startswith(prefix, autoescape=True), alarms.c.raised
    )
    before = {row.alarm for row in await connection.execute(query)}
    new, over = set(wanted) - before, before - set(wanted)
    for statement, names in ((_RAISE, new), (_CLEAR, over)):
        for name in sorted(names):
            await connection.execute(statement, {"name": name})
    return new, over


async def pending(connection: AsyncConnection, limit: int) -> list[Alert]:
    """Read the alerts that wait to be delivered, oldest first."""
    query = select(table).where(*_WAITS).order_by(table.c.alert_id).limit(limit)
    return [_alert(row) for row in await connection.execute(query)]


async def delivered(connection: AsyncConnection, key: str, problem: str | None = None) -> None:
    """Mark an alert as told; `problem` says why it was not told in Slack."""
    await connection.execute(
        update(table).where(table.c.key == key).values(delivered_at=func.now(), problem=problem)
    )


async def undeliverable(connection: AsyncConnection, key: str, why: str) -> None:
    """Give an alert up: Slack will never take it."""
    await connection.execute(update(table).where(table.c.key == key, *_WAITS).values(problem=why))


async def undelivered(connection: AsyncConnection) -> Undelivered:
    """Count what waits to be delivered; what was given up waits no more."""
    oldest = func.extract("epoch", func.now() - func.min(table.c.raised_at))
    query = select(func.count(), func.coalesce(oldest, 0)).where(*_WAITS)
    count, oldest_seconds = (await connection.execute(query)).one()
    return Undelivered(count, float(oldest_seconds))


async def page(connection: AsyncConnection, before: int | None, limit: int) -> list[AlertRecord]:
    """List alerts, newest first, from the one before position `before`."""
    query = select(table).order_by(table.c.alert_id.desc()).limit(limit)
    if before is not None:
        query = query.where(table.c.alert_id < before)
    return [_record(row) for row in await connection.execute(query)]


def _row(alert: Alert) -> dict[str, Any]:
    return {
        "key": alert.key,
        "level": alert.level,
        "title": alert.title,
        "text": alert.text,
        "org_id": alert.org_id,
        "facts": alert.facts,
        "workflow_id": alert.workflow_id,
    }


def _alert(row: Any) -> Alert:
    return Alert(
        key=row.key,
        level=AlertLevel(row.level),
        title=row.title,
        text=row.text,
        org_id=row.org_id,
        facts=tuple((name, value) for name, value in row.facts),
        workflow_id=row.workflow_id,
    )


def _record(row: Any) -> AlertRecord:
    return AlertRecord(row.alert_id, _alert(row), row.raised_at, row.delivered_at, row.problem)
