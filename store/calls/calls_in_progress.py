"""Calls in progress: noted when Vapi tells of them, and handed out when no report has come.

Charging a call does not touch this table, so that a flood has no statement more. The sweep deletes
a call here once it is due and seen to.
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Column, ColumnElement, Double, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import EndedCall
from billing.calls.call_in_progress import OngoingCall
from billing.calls.facts import of_notice
from billing.inbox.webhook_event import END_OF_CALL, EventStatus, Source, call_event_key
from store.database.rowset import rowset
from store.schema import calls, webhook_events
from store.schema import calls_in_progress as table

_SECOND = func.make_interval(0, 0, 0, 0, 0, 0, 1)
_KEPT = ("call_id", "assistant_id", "phone_number_id")
_IS_OVERDUE = table.c.due_at <= func.now()


def _has_report(call_id: ColumnElement[str], *statuses: EventStatus) -> ColumnElement[bool]:
    """Return the condition that a call's report has come, and has one of these statuses."""
    return exists().where(
        webhook_events.c.source == Source.VAPI,
        webhook_events.c.key == func.concat(call_id, call_event_key("", END_OF_CALL)),
        webhook_events.c.status.in_(statuses or tuple(EventStatus)),
    )


def _is_billed(call_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a process has looked at a call."""
    return exists().where(calls.c.call_id == call_id)


def _is_seen_to(call_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a call's report has come, or that a process has looked at it."""
    return or_(_is_billed(call_id), _has_report(call_id))


def _is_done_with(call_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that nothing here is needed any more.

    While a report waits in the inbox, it is charged by no more than the cap that is kept here.
    """
    return or_(_is_billed(call_id), _has_report(call_id, EventStatus.HANDLED, EventStatus.IGNORED))


# A call may be given more than once, and ON CONFLICT takes each row only once. So rows of one call
# are merged first; `max` prefers an id to NULL.
_given = rowset(
    (*(table.c[name] for name in (*_KEPT, "cap_seconds")), Column("due_in_seconds", Double))
)
_new = insert(table).from_select(
    [*_KEPT, "cap_seconds", "due_at"],
    select(
        _given.c.call_id,
        func.max(_given.c.assistant_id),
        func.max(_given.c.phone_number_id),
        func.max(_given.c.cap_seconds),
        func.now() + func.min(_given.c.due_in_seconds) * _SECOND,
    )
    .where(~_is_seen_to(_given.c.call_id))
    .group_by(_given.c.call_id)
    # Rows are locked in the same order by all, so that two who note the same calls cannot deadlock.
    .order_by(_given.c.call_id),
)
_NOTE = _new.on_conflict_do_update(
    index_elements=["call_id"],
    set_={
        "assistant_id": func.coalesce(table.c.assistant_id, _new.excluded.assistant_id),
        "phone_number_id": func.coalesce(table.c.phone_number_id, _new.excluded.phone_number_id),
        "cap_seconds": func.coalesce(table.c.cap_seconds, _new.excluded.cap_seconds),
        "due_at": func.least(table.c.due_at, _new.excluded.due_at),
    },
)


async def note(connection: AsyncConnection, ongoing: Sequence[OngoingCall]) -> None:
    """Keep calls until their reports come. Of several times that they are due, the earliest counts.

    A call whose report has come, or that was billed without one, is not kept again.
    """
    await connection.execute(_NOTE, {"rows": [asdict(call) for call in ongoing]})


async def done_with(connection: AsyncConnection) -> list[str]:
    """List the calls that are overdue, and of which nothing here is needed any more."""
    query = select(table.c.call_id).where(_IS_OVERDUE, _is_done_with(table.c.call_id))
    return list(await connection.scalars(query))


async def forget(connection: AsyncConnection, call_ids: Sequence[str]) -> None:
    """Keep these no longer."""
    await connection.execute(delete(table).where(table.c.call_id == func.any(list(call_ids))))


async def overdue(connection: AsyncConnection, limit: int) -> list[str]:
    """Lock up to `limit` calls whose reports are overdue, and that no process has looked at."""
    # SKIP LOCKED: two sweeps at once take different calls, and neither waits for the other.
    query = (
        select(table.c.call_id)
        .where(_IS_OVERDUE, ~_is_seen_to(table.c.call_id))
        .order_by(table.c.due_at, table.c.call_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(await connection.scalars(query))


async def take(
    connection: AsyncConnection, call_ids: Sequence[str], again_in_seconds: float
) -> list[EndedCall]:
    """Take calls of whose ends nothing is known.

    They are due again after `again_in_seconds`, unless a process has looked at them by then.
    """
    later = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, again_in_seconds)
    found = await connection.execute(
        update(table)
        .where(table.c.call_id == func.any(list(call_ids)))
        .values(due_at=later)
        .returning(*(table.c[name] for name in _KEPT))
    )
    return [of_notice(*row) for row in found]
