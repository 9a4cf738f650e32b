"""The outbox of alerts, and the alarms that store an alert when they are raised or cleared.

An alert is stored in the transaction that found its reason, so that neither is there without the
other. A process of its own delivers it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import case, func, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.alert import Alert, AlertLevel, AlertRecord
from store.database.pages import newest_first
from store.database.rowset import rowset
from store.schema import alarms
from store.schema import alerts as table

# The number of an advisory lock. Any will do that no other lock of ours has.
_WATCH_LOCK = 0x5741544348
_FACTS = TypeAdapter(list[tuple[str, str]])
_LEVELS = {level.value: level for level in AlertLevel}
_WAITS = (table.c.delivered_at.is_(None), table.c.problem.is_(None))

_given = rowset((alarms.c.alarm, alarms.c.depth))
_new = insert(alarms).from_select(
    ["alarm", "raised", "depth"], select(_given.c.alarm, true(), _given.c.depth)
)
# One statement raises alarms and returns those that this has changed: those that were not raised,
# or less deep. An alarm that only gets deeper keeps the time at which it was raised.
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
    """Let one transaction at a time look at alarms: wait for a lock, and hold it to the end."""
    await connection.execute(select(func.pg_advisory_xact_lock(_WATCH_LOCK)))


async def tell(connection: AsyncConnection, alert: Alert) -> bool:
    """Store an alert for delivery; return False if one of this key was stored before."""
    stored = await connection.execute(
        insert(table).values(_row(alert)).on_conflict_do_nothing().returning(table.c.key)
    )
    return stored.first() is not None


async def tell_each(connection: AsyncConnection, those: Sequence[Alert]) -> None:
    """Store alerts of which most were stored before: nobody waits for who stores one of the same.

    It comes last in a transaction, so that no two of them wait for each other.
    """
    keys = [one.key for one in those]
    query = select(table.c.key).where(table.c.key == func.any(keys))
    known = set(await connection.scalars(query)) if keys else set()
    for alert in sorted(those, key=lambda one: one.key):
        if alert.key not in known:
            await tell(connection, alert)


async def cross(
    connection: AsyncConnection, alarm: str, *, raised: bool, alert: Alert, depth: int = 1
) -> bool:
    """Set whether an alarm is raised. Store the alert if that is a change, and return if it was.

    To raise an alarm is a change also if `depth` is more than any since it was last raised. An
    alarm without a row is not raised.

    Of any number of transactions that see the same crossing at once, one changes the alarm. The
    others wait for its row, and find it changed. The alert's key must name this crossing (the day,
    the run), for the alert of a key that was stored before is not stored again.
    """
    changed = await set_depths(connection, {alarm: depth if raised else 0})
    return bool(changed) and await tell(connection, alert)


async def set_depths(connection: AsyncConnection, depths: Mapping[str, int]) -> set[str]:
    """Raise each of these alarms this deep, or clear it if that is 0; return those that changed.

    An alarm that was never raised has no row, and clearing it makes none.
    """
    # Raised in the order of their names, so that two who raise the same alarms cannot deadlock.
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

    Return those that were not raised before, and those that were cleared. The caller stores the
    alerts. Only one caller at a time may do this for a prefix.
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
    """Mark an alert as delivered; `problem` says why not to Slack."""
    await connection.execute(
        update(table).where(table.c.key == key).values(delivered_at=func.now(), problem=problem)
    )


async def undeliverable(connection: AsyncConnection, key: str, why: str) -> None:
    """Give an alert up, which Slack will never take."""
    given_up = update(table).where(table.c.key == key, *_WAITS)
    await connection.execute(given_up.values(problem=why, given_up_at=func.now()))


async def undelivered(connection: AsyncConnection) -> Undelivered:
    """Count the alerts that wait to be delivered. Those that were given up do not wait."""
    oldest = func.extract("epoch", func.now() - func.min(table.c.raised_at))
    query = select(func.count(), func.coalesce(oldest, 0)).where(*_WAITS)
    count, oldest_seconds = (await connection.execute(query)).one()
    return Undelivered(count, float(oldest_seconds))


async def given_up(connection: AsyncConnection, within: timedelta) -> int:
    """Count the alerts that were given up `within` the last while, and have reached nobody."""
    query = select(func.count()).where(
        table.c.delivered_at.is_(None),
        table.c.problem.is_not(None),
        table.c.given_up_at > func.now() - within,
    )
    return int((await connection.execute(query)).scalar_one())


async def page(connection: AsyncConnection, before: int | None, limit: int) -> list[AlertRecord]:
    """List alerts, newest first, from the one before position `before`."""
    query = newest_first(select(table), table.c.alert_id, before, limit)
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
        level=_LEVELS.get(row.level, AlertLevel.HIGH),
        title=row.title,
        text=row.text,
        org_id=row.org_id,
        facts=_facts(row.facts),
        workflow_id=row.workflow_id,
        view=row.view,
    )


def _facts(written: Any) -> tuple[tuple[str, str], ...]:
    """Read facts; those that nobody can read are left out, for an alert is told all the same."""
    try:
        return tuple(_FACTS.validate_python(written))
    except ValidationError:
        return ()


def _record(row: Any) -> AlertRecord:
    return AlertRecord(row.alert_id, _alert(row), row.raised_at, row.delivered_at, row.problem)
