"""Webhooks in the inbox, for those who ask what became of one.

There may be millions, and what takes them in must stay quick: no index serves only this. What is
asked for by an id or waits is found at once; all else is looked for from the newest on, so many at
a time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, and_, case, cast, func, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import call_workflow_id
from billing.errors import NotFound
from billing.ledger import (
    Entry,
    call_key,
    dispute_key,
    message_key,
    payment_credit_key,
    refund_key,
)
from billing.message import MessageStatus, SeenMessage, message_workflow_id
from billing.payment import payment_workflow_id
from billing.received import Received, ReceivedEvent, ReceivedFilter, ReceivedPage
from billing.webhook import END_OF_CALL, EventStatus, Source, call_event_key
from store import ledger
from store.calls import FACTS
from store.schema import calls, messages
from store.schema import webhook_events as table

_MESSAGE = TypeAdapter(SeenMessage)
# Which refund or dispute an event of Stripe is about.
_RETURNED = case(
    (
        and_(
            table.c.source == Source.STRIPE,
            table.c.type.contains("refund") | table.c.type.contains("dispute"),
            func.pg_input_is_valid(table.c.body, "jsonb"),
        ),
        cast(table.c.body, JSONB)[("data", "object", "id")].astext,
    )
).label("returned")
# How many events a page looks at, at most: a few hundredths of a second.
LOOKED_AT = 10_000
# Events come in the order of their numbers, but for those of transactions at the same time.
_ASIDE = timedelta(minutes=1)
_SHOWN = (
    "event_id", "source", "key", "type", "subject", "status", "received_at", "due_at",
    "handled_at", "body_removed_at",
)  # fmt: skip


async def page(
    connection: AsyncConnection, which: ReceivedFilter, before: int | None, limit: int
) -> ReceivedPage:
    """List webhooks, newest first, from the one before event `before`.

    A page may have fewer than `limit`, and more may follow: then it has looked at so many that do
    not fit.
    """
    within, looked_up_to = _found_at_once(which), None
    if within is None:
        within, looked_up_to = await _lately(connection, which, before)
    query = select(*(table.c[name] for name in _SHOWN)).where(within, *_fits(which))
    if before is not None:
        query = query.where(table.c.event_id < before)
    rows = await connection.execute(query.order_by(table.c.event_id.desc()).limit(limit + 1))
    found = [_event(row) for row in rows]
    further = found[limit - 1].event_id if len(found) > limit else looked_up_to
    return ReceivedPage(tuple(found[:limit]), further)


async def read(connection: AsyncConnection, event_id: int) -> Received:
    """Read a webhook with what it said and what has come of it; raises NotFound."""
    query = select(*(table.c[name] for name in _SHOWN), table.c.facts, _RETURNED)
    row = (await connection.execute(query.where(table.c.event_id == event_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no webhook {event_id}")
    event = _event(row)
    if event.status is EventStatus.IGNORED:
        return Received(event)
    match event.source:
        case Source.VAPI:
            return await _of_call(connection, event, row.facts)
        case Source.TWILIO:
            return await _of_message(connection, event, row.facts)
        case Source.STRIPE:
            return await _of_payment(connection, event, row.returned)


async def _of_call(connection: AsyncConnection, event: ReceivedEvent, facts: Any) -> Received:
    query = select(calls.c.state, calls.c.workflow_id).where(calls.c.call_id == event.subject)
    known = (await connection.execute(query)).one_or_none()
    return Received(
        event,
        call=facts and FACTS.validate_python(facts),
        state=known and known.state,
        workflow_id=known.workflow_id if known else call_workflow_id(event.subject),
        entries=await _entries(connection, call_key(event.subject)),
    )


async def _of_message(connection: AsyncConnection, event: ReceivedEvent, facts: Any) -> Received:
    query = select(messages.c.state, messages.c.workflow_id).where(messages.c.sid == event.subject)
    known = (await connection.execute(query)).one_or_none()
    return Received(
        event,
        message=facts and _MESSAGE.validate_python(facts),
        state=known and known.state,
        workflow_id=known.workflow_id if known else message_workflow_id(event.subject),
        entries=await _entries(connection, message_key(event.subject)),
    )


async def _of_payment(
    connection: AsyncConnection, event: ReceivedEvent, returned: str | None
) -> Received:
    keys = [payment_credit_key(event.subject)]
    if returned is not None:
        keys += [refund_key(returned), dispute_key(returned)]
    return Received(
        event,
        workflow_id=payment_workflow_id(event.subject),
        entries=await _entries(connection, *keys),
    )


async def _entries(connection: AsyncConnection, *keys: str) -> tuple[Entry, ...]:
    """Read the entries of these keys and what reverses them; a reversed credit only once."""
    families = [await ledger.family(connection, key) for key in keys]
    found = {entry.entry_id: entry for family in families for entry in family}
    return tuple(found[entry_id] for entry_id in sorted(found))


def _found_at_once(which: ReceivedFilter) -> ColumnElement[bool] | None:
    """Say how the indexes find what is asked for; None if they do not.

    Of a call only its report has a key that can be told: what else Vapi says while a call lasts
    moves no money, and is found by its type.
    """
    if which.key is not None:
        return and_(table.c.source.in_(list(Source)), table.c.key == which.key)
    if which.subject is not None and which.type in (None, END_OF_CALL):
        return _about(which.subject)
    if which.subject is not None and which.source in (Source.STRIPE, Source.TWILIO):
        return _about(which.subject)
    if which.status is EventStatus.WAITING:
        waiting = select(table.c.event_id).where(table.c.status == EventStatus.WAITING)
        return table.c.event_id.in_(waiting.cte("waiting").prefix_with("MATERIALIZED").select())
    return None


def _about(subject: str) -> ColumnElement[bool]:
    keys = [f"{subject}:{status}" for status in MessageStatus]
    return or_(
        and_(table.c.source == Source.STRIPE, table.c.subject == subject),
        and_(table.c.source == Source.TWILIO, table.c.key.in_(keys)),
        and_(table.c.source == Source.VAPI, table.c.key == call_event_key(subject, END_OF_CALL)),
    )


async def _lately(
    connection: AsyncConnection, which: ReceivedFilter, before: int | None
) -> tuple[ColumnElement[bool], int | None]:
    """Choose the next events to look at, newest first; and the last of them, if more may follow."""
    if before is None and which.received_before is not None:
        before = await _beside(connection, which.received_before + _ASIDE, later=True)
    floor = None
    if which.received_after is not None:
        floor = await _beside(connection, which.received_after - _ASIDE, later=False)
    number = table.c.event_id
    within = and_(number > (floor or 0), number < before if before is not None else true())
    last = select(number).where(within).order_by(number.desc()).offset(LOOKED_AT - 1).limit(1)
    looked_up_to = await connection.scalar(last)
    return and_(within, number >= (looked_up_to or 0)), looked_up_to


async def _beside(connection: AsyncConnection, moment: datetime, *, later: bool) -> int | None:
    """Find an event that came close after (or before) a moment; there is no index of ignored."""
    came = table.c.received_at
    query = select(table.c.event_id).where(table.c.status != EventStatus.IGNORED).limit(1)
    query = (
        query.where(came >= moment).order_by(came)
        if later
        else query.where(came < moment).order_by(came.desc())
    )
    found: int | None = await connection.scalar(query)
    return found


def _fits(which: ReceivedFilter) -> Sequence[ColumnElement[bool]]:
    """Say what is asked for, row by row."""
    names = ("source", "subject", "key", "type", "status")
    wanted = {name: getattr(which, name) for name in names}
    fits = [table.c[name] == value for name, value in wanted.items() if value is not None]
    if which.received_after is not None:
        fits.append(table.c.received_at >= which.received_after)
    if which.received_before is not None:
        fits.append(table.c.received_at < which.received_before)
    return fits


def _event(row: Any) -> ReceivedEvent:
    status = EventStatus(row.status)
    return ReceivedEvent(
        event_id=row.event_id,
        source=Source(row.source),
        key=row.key,
        type=row.type,
        subject=row.subject,
        status=status,
        received_at=row.received_at,
        due_at=row.due_at if status is EventStatus.WAITING else None,
        handled_at=row.handled_at,
        body_removed_at=row.body_removed_at,
    )
