"""The outbox of alerts, and the alarms whose crossings raise them.

Alerts are stored in the transaction that found their reason, so that neither is there without the
other; a process of its own delivers them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import case, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alert import Alert, AlertLevel, AlertRecord
from store.rowset import rowset
from store.schema import alarms
from store.schema import alerts as table

# Anything that no other advisory lock of ours has.
_LOOKING = 0x5741544348
_WAITS = (table.c.delivered_at.is_(None), table.c.problem.is_(None))

_given = rowset((alarms.c.alarm, alarms.c.depth))
_new = insert(alarms).from_select(
    ["alarm", "raised", "depth"], select(_given.c.alarm, true(), _given.c.depth)
)
# One that gets deeper was raised when it was raised first.
_RAISE = _new.on_conflict_do_update(
    index_elements=["alarm"],
    set_={
        "raised": True,
        "since": case((alarms.c.raised, alarms.c.since), else_=func.now()),
        "depth": _new.excluded.depth,
    },
    where=alarms.c.raised.is_(False) | (alarms.c.depth < _new.excluded.depth),
).returning(alarms.c.alarm)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """What waits to be delivered: how many alerts, and how long the oldest has waited."""

    count: int
    oldest_seconds: float


async def one_at_a_time(connection: AsyncConnection) -> None:
    """Let nobody else who asks for this look at alarms before the transaction ends."""
    await connection.execute(select(func.pg_advisory_xact_lock(_LOOKING)))


async def tell(connection: AsyncConnection, alert: Alert) -> bool:
    """Store an alert for delivery; False when one of this key was stored before."""
    stored = await connection.execute(
        insert(table).values(_row(alert)).on_conflict_do_nothing().returning(table.c.key)
    )
    return stored.first() is not None


async def cross(
    connection: AsyncConnection, alarm: str, *, raised: bool, alert: Alert, depth: int = 1
) -> bool:
    """Set whether an alarm is raised, and tell the alert if that changes; False if nothing is told.

    It changes too if the alarm is raised to more `depth` than it was since it was last raised.

    An alarm never seen is as good as not raised. Of any number of transactions that see the same
    crossing at once, one changes the alarm: the others wait for its row and find it changed. The
    alert's key must name this crossing (the day, the run), or the next one would be told to nobody.
    """
    changed = await set_depths(connection, {alarm: depth if raised else 0})
    return bool(changed) and await tell(connection, alert)


async def set_depths(connection: AsyncConnection, depths: Mapping[str, int]) -> set[str]:
    """Raise each of these alarms this deep, or clear it if that is 0; answers which that changed.

    An alarm that was never raised has no row, and none is made for saying that it is not raised.
    """
    up = [{"alarm": alarm, "depth": depths[alarm]} for alarm in sorted(depths) if depths[alarm]]
    down = sorted(alarm for alarm in depths if not depths[alarm])
    changed = set[str]()
    if up:
        changed |= {row.alarm for row in await connection.execute(_RAISE, {"rows": up})}
    if down:
        over = update(alarms).where(alarms.c.alarm == func.any(down), alarms.c.raised)
        cleared = over.values(raised=False, since=func.now()).returning(alarms.c.alarm)
        changed |= {row.alarm for row in await connection.execute(cleared)}
    return changed


async def raised(connection: AsyncConnection, kinds: Collection[str]) -> frozenset[str]:
    """Read which alarms of these kinds are raised."""
    query = select(alarms.c.alarm).where(
        alarms.c.raised, func.split_part(alarms.c.alarm, ":", 1).in_(sorted(kinds))
    )
    return frozenset(row.alarm for row in await connection.execute(query))


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
    await set_depths(connection, dict.fromkeys(new, 1) | dict.fromkeys(over, 0))
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
    given_up = update(table).where(table.c.key == key, *_WAITS)
    await connection.execute(given_up.values(problem=why, given_up_at=func.now()))


async def undelivered(connection: AsyncConnection) -> Undelivered:
    """Count what waits to be delivered; what was given up waits no more."""
    oldest = func.extract("epoch", func.now() - func.min(table.c.raised_at))
    query = select(func.count(), func.coalesce(oldest, 0)).where(*_WAITS)
    count, oldest_seconds = (await connection.execute(query)).one()
    return Undelivered(count, float(oldest_seconds))


async def given_up(connection: AsyncConnection, within: timedelta) -> int:
    """Count the alerts that were given up in the last while, and told nobody since."""
    query = select(func.count()).where(
        table.c.delivered_at.is_(None),
        table.c.problem.is_not(None),
        table.c.given_up_at > func.now() - within,
    )
    return int((await connection.execute(query)).scalar_one())


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
        "view": alert.view,
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
        view=row.view,
    )


def _record(row: Any) -> AlertRecord:
    return AlertRecord(row.alert_id, _alert(row), row.raised_at, row.delivered_at, row.problem)
