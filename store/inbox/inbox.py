"""The webhook inbox: accept in sets, hand out what is due, mark what has had its effect."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Column, Double, Executable, case, cast, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import (
    HANDLING,
    Drain,
    EventStatus,
    ObjectHint,
    PaymentHint,
    Source,
    WebhookEvent,
)
from billing.messages.message import SeenMessage
from store.database.rowset import rowset
from store.ledger import journal
from store.schema import webhook_events as table

_ADAPTERS: Mapping[type, TypeAdapter[Any]] = {
    one.kept: TypeAdapter(one.kept) for one in HANDLING.values()
}
_KEPT = ("source", "key", "type", "subject", "body", "facts", "status")
_AGE = cast(func.extract("epoch", func.now() - table.c.received_at), Double).label("age_seconds")
_SECOND = func.make_interval(0, 0, 0, 0, 0, 0, 1)

_new = rowset((*(table.c[name] for name in _KEPT), Column("due_in_seconds", Double)))
_DUE_AT = func.now() + _new.c.due_in_seconds * _SECOND
# What is kept without its body has none from the beginning.
_BODY_REMOVED_AT = case((_new.c.body == "", func.now()))
_ACCEPT = (
    insert(table)
    .from_select(
        [*_KEPT, "due_at", "body_removed_at"],
        select(
            *(_new.c[name] for name in _KEPT),
            _DUE_AT,
            _BODY_REMOVED_AT,
        ),
    )
    .on_conflict_do_nothing()
    .returning(table.c.source, table.c.key)
)
# As if it came now: it has the next number too, for numbers follow the time of receipt.
_REPLACE_IGNORED = (
    update(table)
    .where(table.c.source == _new.c.source, table.c.key == _new.c.key)
    .where(table.c.status == EventStatus.IGNORED)
    .values({name: _new.c[name] for name in _KEPT})
    .values(due_at=_DUE_AT, received_at=func.now(), body_removed_at=_BODY_REMOVED_AT)
    .values(event_id=literal_column("DEFAULT"))
    .returning(table.c.source, table.c.key)
)


@dataclass(frozen=True, slots=True)
class DueEvent:
    """An accepted event that nothing has settled yet, with the facts that were kept of it.

    `facts` are None if nobody can read them, nor begin a process without them.
    """

    event_id: int
    key: str
    subject: str
    facts: EndedCall | SeenMessage | PaymentHint | ObjectHint | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the inbox: how many events, and how long the oldest has been due."""

    waiting: int
    oldest_seconds: float


def kept_facts(source: Source, written: Any) -> Any:
    """Read the facts that were kept of an event; None where none were, or nobody can read them."""
    adapter = _ADAPTERS[HANDLING[source].kept]
    try:
        return None if written is None else adapter.validate_python(written)
    except ValidationError:
        return None


async def accept(
    connection: AsyncConnection, events: Iterable[WebhookEvent]
) -> set[tuple[str, str]]:
    """Store events, each once; returns (source, key) of those that are new.

    One that counts is new as well where its key was held by one that was ignored: it was of another
    mode then, or of a type that nobody knew. It takes that one's place.
    """
    events = list(events)
    counting = {event.identity for event in events if event.counts}
    kept = [event for event in events if event.counts or event.identity not in counting]
    new = await _made(connection, _ACCEPT, kept)
    known = [event for event in kept if event.counts and event.identity not in new]
    return new | await _made(connection, _REPLACE_IGNORED, known) if known else new


async def _made(
    connection: AsyncConnection, statement: Executable, events: Iterable[WebhookEvent]
) -> set[tuple[str, str]]:
    made = await connection.execute(statement, {"rows": [_row(event) for event in events]})
    return {(row.source, row.key) for row in made}


async def take_due(
    connection: AsyncConnection, drain: Drain, limit: int, passing_over: Collection[int] = ()
) -> list[DueEvent]:
    """Lock up to `limit` events of a drain that are due, the longest first.

    The locks last until the transaction ends. Events that another drain holds are passed over, and
    so are those named. A report that nobody can read says at least that its call has ended.
    """
    sources = [source for source, one in HANDLING.items() if one.drain is drain]
    query = (
        select(table.c.event_id, table.c.source, table.c.key, table.c.subject, table.c.facts)
        .where(table.c.status == EventStatus.WAITING, table.c.due_at <= func.now())
        .where(table.c.source.in_(sources))
        .order_by(table.c.due_at, table.c.event_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if passing_over:
        query = query.where(table.c.event_id != func.all(list(passing_over)))
    return [_due(row) for row in await connection.execute(query)]


async def lock(connection: AsyncConnection, event_ids: Collection[int]) -> None:
    """Lock events before anything that they are about, as everybody does."""
    query = select(table.c.event_id).where(table.c.event_id == func.any(list(event_ids)))
    await connection.execute(query.order_by(table.c.event_id).with_for_update())


async def postpone(connection: AsyncConnection, event_ids: Collection[int], seconds: float) -> None:
    """Leave these events to others for a while; they are due again if those never come."""
    later = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    await connection.execute(
        update(table).where(table.c.event_id == func.any(list(event_ids))).values(due_at=later)
    )


async def make_due(connection: AsyncConnection, source: Source, keys: Collection[str]) -> None:
    """Let the drain have these events now."""
    await connection.execute(
        update(table)
        .where(table.c.source == source, table.c.key == func.any(list(keys)))
        .where(table.c.status == EventStatus.WAITING)
        .values(due_at=func.now())
    )


async def handled(connection: AsyncConnection, event_ids: Collection[int]) -> None:
    """Mark events whose effect is in this same transaction; how old they are is journalled."""
    marked = _handled().where(table.c.event_id == func.any(list(event_ids)))
    _journal(connection, await connection.execute(marked))


async def handled_by_key(
    connection: AsyncConnection, source: Source, keys: Collection[str]
) -> None:
    """Mark events whose effect is in this same transaction, by their keys."""
    marked = _handled().where(table.c.source == source, table.c.key == func.any(list(keys)))
    _journal(connection, await connection.execute(marked))


async def leads_to(connection: AsyncConnection, key: str, payment_id: str) -> None:
    """Let an event of Stripe's that has named another object be one about its payment."""
    await connection.execute(
        update(table)
        .where(table.c.source == Source.STRIPE, table.c.key == key)
        .values(subject=payment_id, facts=None)
    )


async def backlog(connection: AsyncConnection) -> Backlog:
    """Count what is due and not handled."""
    due = table.c.due_at <= func.now()
    oldest = func.extract("epoch", func.now() - func.min(table.c.due_at).filter(due))
    query = select(func.count(), func.coalesce(oldest, 0)).where(
        table.c.status == EventStatus.WAITING
    )
    waiting, oldest_seconds = (await connection.execute(query)).one()
    return Backlog(waiting, float(oldest_seconds))


def _handled() -> Any:
    return (
        update(table)
        .where(table.c.status == EventStatus.WAITING)
        .values(status=EventStatus.HANDLED, handled_at=func.now())
        .returning(table.c.source, _AGE)
    )


def _journal(connection: AsyncConnection, marked: Iterable[Any]) -> None:
    ages = ((Source(row.source), row.age_seconds) for row in marked)
    journal.write_down(connection, ages=ages)


def _row(event: WebhookEvent) -> dict[str, Any]:
    return {
        "source": event.source,
        "key": event.key,
        "type": event.type,
        "subject": event.subject,
        "body": event.body,
        "facts": _facts(event),
        "status": event.status,
        "due_in_seconds": event.due_in_seconds,
    }


def _facts(event: WebhookEvent) -> dict[str, Any] | None:
    adapter = _ADAPTERS.get(type(event.facts))
    if adapter is None:
        return None
    written: dict[str, Any] = adapter.dump_python(event.facts, mode="json", exclude_defaults=True)
    return written


def _due(row: Any) -> DueEvent:
    return DueEvent(row.event_id, row.key, row.subject, _facts_of(Source(row.source), row))


def _facts_of(
    source: Source, row: Any
) -> EndedCall | SeenMessage | PaymentHint | ObjectHint | None:
    """Read what follows from an event; of what nobody can read, as much as key and subject say."""
    facts: EndedCall | SeenMessage | ObjectHint | None = kept_facts(source, row.facts)
    if facts is None and source is Source.STRIPE:
        return PaymentHint(row.subject, row.key)
    return EndedCall(row.subject) if facts is None and source is Source.VAPI else facts
