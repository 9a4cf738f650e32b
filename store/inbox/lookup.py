"""Look up webhooks in the inbox, for those who ask what became of one.

There may be millions, and accepting them must stay quick, so no index serves only this. What is
asked for by an id, or waits, is found by the indexes that there are. All else is looked for from
the newest event on, so many events at a time.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, cast, func, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import call_workflow_id
from billing.errors import NotFound
from billing.inbox.lookup import Received, ReceivedEvent, ReceivedFilter, ReceivedPage
from billing.inbox.webhook_event import END_OF_CALL, EventStatus, Source, call_event_key
from billing.ledger.entry import (
    Entry,
    call_key,
    dispute_key,
    message_key,
    payment_credit_key,
    refund_key,
)
from billing.messages.message import MessageStatus, message_workflow_id
from billing.payments.payment import payment_workflow_id
from store.database.pages import fits, newest_first
from store.inbox.inbox import kept_facts
from store.ledger import ledger
from store.schema import calls, messages
from store.schema import webhook_events as table

# The refund or dispute that an event of Stripe's is about. Bodies are kept as they came, and CASE
# casts only those that are JSON.
_RETURNED = case(
    (
        and_(
            table.c.source == Source.STRIPE,
            table.c.type.contains("refund") | table.c.type.contains("dispute"),
            func.is_jsonb(table.c.body),
        ),
        func.coalesce(
            cast(table.c.body, JSONB)[("data", "object", "id")].astext,
            cast(table.c.body, JSONB)[("related_object", "id")].astext,
        ),
    )
).label("returned")
# How many events a page looks at, at most. It takes a few hundredths of a second.
LOOKED_AT = 10_000
# Ids follow the time of receipt, but not among transactions at the same time. A bound of time is
# turned into one of ids with this much to spare.
_ASIDE = timedelta(minutes=1)
_SHOWN = (
    "event_id", "source", "key", "type", "subject", "status", "received_at", "due_at",
    "handled_at", "body_removed_at",
)  # fmt: skip


async def page(
    connection: AsyncConnection, which: ReceivedFilter, before: int | None, limit: int
) -> ReceivedPage:
    """List webhooks, newest first, from the one before event `before`.

    A page with fewer than `limit` may not be the last: it ends after `LOOKED_AT` events, whether
    they fit or not.
    """
    within, looked_up_to = _found_at_once(which), None
    if within is None:
        within, looked_up_to = await _lately(connection, which, before)
    query = select(*(table.c[name] for name in _SHOWN)).where(within, *_fits(which))
    query = newest_first(query, table.c.event_id, before, limit + 1)
    found = [_event(row) for row in await connection.execute(query)]
    further = found[limit - 1].event_id if len(found) > limit else looked_up_to
    return ReceivedPage(tuple(found[:limit]), further)


async def read(connection: AsyncConnection, event_id: int) -> Received:
    """Read a webhook, with what it said and what has come of it; raise NotFound."""
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
            return await _of_payment(connection, event, row)


async def _of_call(connection: AsyncConnection, event: ReceivedEvent, facts: Any) -> Received:
    query = select(calls.c.state, calls.c.workflow_id).where(calls.c.call_id == event.subject)
    known = (await connection.execute(query)).one_or_none()
    return Received(
        event,
        call=kept_facts(event.source, facts),
        state=known and known.state,
        workflow_id=known.workflow_id if known else call_workflow_id(event.subject),
        entries=await _entries(connection, call_key(event.subject)),
    )


async def _of_message(connection: AsyncConnection, event: ReceivedEvent, facts: Any) -> Received:
    query = select(messages.c.state, messages.c.workflow_id).where(messages.c.sid == event.subject)
    known = (await connection.execute(query)).one_or_none()
    return Received(
        event,
        message=kept_facts(event.source, facts),
        state=known and known.state,
        workflow_id=known.workflow_id if known else message_workflow_id(event.subject),
        entries=await _entries(connection, message_key(event.subject)),
    )


async def _of_payment(connection: AsyncConnection, event: ReceivedEvent, row: Any) -> Received:
    """Read what came of an event; as long as its payment is looked for, that is nothing."""
    if (named := kept_facts(event.source, row.facts)) is not None:
        return Received(event, workflow_id=named.workflow_id)
    keys = [payment_credit_key(event.subject)]
    if row.returned is not None:
        keys += [refund_key(row.returned), dispute_key(row.returned)]
    return Received(
        event,
        workflow_id=payment_workflow_id(event.subject),
        entries=await _entries(connection, *keys),
    )


async def _entries(connection: AsyncConnection, *keys: str) -> tuple[Entry, ...]:
    """Read the entries of these keys with those that reverse them, each once, oldest first."""
    families = [await ledger.family(connection, key) for key in keys]
    found = {entry.entry_id: entry for family in families for entry in family}
    return tuple(found[entry_id] for entry_id in sorted(found))


def _found_at_once(which: ReceivedFilter) -> ColumnElement[bool] | None:
    """Return a condition by which an index finds what is asked for; None if no index can.

    Of a call's events only the report has a key that can be computed. Vapi's other messages move no
    money, and are looked for from the newest on.
    """
    if which.key is not None:
        return and_(table.c.source.in_(list(Source)), table.c.key == which.key)
    if which.subject is not None and which.type in (None, END_OF_CALL):
        return _about(which.subject)
    if which.subject is not None and which.source in (Source.STRIPE, Source.TWILIO):
        return _about(which.subject)
    if which.status is EventStatus.WAITING:
        # MATERIALIZED, or else PostgreSQL may go down all ids to find the few events that wait.
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
    """Return the condition for the next `LOOKED_AT` events, and the last of their ids.

    The id is None if there are fewer, so that nothing follows.
    """
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
    """Return the id of the first event from a moment on (`later`), or of the last one before it.

    Ignored events are not in the index by time, so another event stands in for them.
    """
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
    """Return the conditions that each event must fit."""
    names = ("source", "subject", "key", "type", "status")
    chosen = fits(table, **{name: getattr(which, name) for name in names})
    if which.received_after is not None:
        chosen.append(table.c.received_at >= which.received_after)
    if which.received_before is not None:
        chosen.append(table.c.received_at < which.received_before)
    return chosen


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
