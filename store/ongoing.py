"""Calls that are going on: noted when Vapi tells of them, handed out when no report has come.

They cost nothing when calls are charged: whoever sweeps finds that they are, and forgets them.
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Column, ColumnElement, Double, delete, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import EndedCall
from billing.ongoing import OngoingCall
from billing.webhook import END_OF_CALL, Source, call_event_key
from store.rowset import rowset
from store.schema import calls, webhook_events
from store.schema import calls_in_progress as table

_SECOND = func.make_interval(0, 0, 0, 0, 0, 0, 1)
_KEPT = ("call_id", "assistant_id", "phone_number_id")


def _is_seen_to(call_id: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a call's report has come, or a process has looked at it."""
    reported = exists().where(
        webhook_events.c.source == Source.VAPI,
        webhook_events.c.key == func.concat(call_id, call_event_key("", END_OF_CALL)),
    )
    return or_(exists().where(calls.c.call_id == call_id), reported)


_given = rowset((*(table.c[name] for name in _KEPT), Column("due_in_seconds", Double)))
_new = insert(table).from_select(
    [*_KEPT, "due_at"],
    select(
        _given.c.call_id,
        func.max(_given.c.assistant_id),
        func.max(_given.c.phone_number_id),
        func.now() + func.min(_given.c.due_in_seconds) * _SECOND,
    )
    .where(~_is_seen_to(_given.c.call_id))
    .group_by(_given.c.call_id)
    # Two who note the same calls at once must not wait for each other.
    .order_by(_given.c.call_id),
)
_NOTE = _new.on_conflict_do_update(
    index_elements=["call_id"],
    set_={
        "assistant_id": func.coalesce(table.c.assistant_id, _new.excluded.assistant_id),
        "phone_number_id": func.coalesce(table.c.phone_number_id, _new.excluded.phone_number_id),
        "due_at": func.least(table.c.due_at, _new.excluded.due_at),
    },
)


async def note(connection: AsyncConnection, ongoing: Sequence[OngoingCall]) -> None:
    """Keep calls until their reports come; of several times the earliest counts.

    A call whose report has come, or that was billed without, does not begin again.
    """
    await connection.execute(_NOTE, {"rows": [asdict(call) for call in ongoing]})


async def take_overdue(
    connection: AsyncConnection, limit: int, again_in_seconds: float
) -> list[EndedCall]:
    """Take up to `limit` calls whose reports should have come; nothing of their ends is known.

    They come again later, unless a process has looked at them by then.
    """
    overdue = table.c.due_at <= func.now()
    await connection.execute(delete(table).where(overdue, _is_seen_to(table.c.call_id)))
    taken = (
        select(table.c.call_id)
        .where(overdue)
        .order_by(table.c.due_at, table.c.call_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    later = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, again_in_seconds)
    found = await connection.execute(
        update(table)
        .where(table.c.call_id.in_(taken.scalar_subquery()))
        .values(due_at=later)
        .returning(*(table.c[name] for name in _KEPT))
    )
    return [EndedCall(*row) for row in found]
