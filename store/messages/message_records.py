"""Read messages: one, a page of them, and how many of a period came to which end."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import NotFound
from billing.ledger.money import Currency, Money
from billing.messages.delivery_rate import Delivery, delivery
from billing.messages.message import MessageRecord, MessageState, MessageStatus
from billing.tariffs.channel import Channel, channel_of
from store.database.pages import fits, newest_first
from store.schema import messages as table


async def read(connection: AsyncConnection, sid: str) -> MessageRecord:
    """Read one message; raise NotFound."""
    found = await connection.execute(select(table).where(table.c.sid == sid))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"nothing has been heard of message {sid}")
    return _record(row)


async def page(
    connection: AsyncConnection,
    org_id: str,
    before: int | None,
    limit: int,
    state: MessageState | None = None,
) -> list[MessageRecord]:
    """List an organisation's messages, newest first, from the one before position `before`."""
    query = select(table).where(table.c.org_id == org_id, *fits(table, state=state))
    query = newest_first(query, table.c.position, before, limit)
    return [_record(row) for row in await connection.execute(query)]


async def delivered(
    connection: AsyncConnection, org_id: str, since: datetime, until: datetime
) -> Delivery:
    """Return what became of an organisation's messages that were first heard of in a period."""
    query = (
        select(table.c.status, func.count().label("messages"))
        .where(table.c.org_id == org_id)
        .where(table.c.first_seen_at >= since, table.c.first_seen_at < until)
        .group_by(table.c.status)
    )
    rows = await connection.execute(query)
    return delivery({MessageStatus(row.status): row.messages for row in rows})


def _channel(row: Any) -> Channel | None:
    """Return what the message goes over; None while nobody has said it."""
    if row.channel is not None:
        return Channel(row.channel)
    return channel_of(row.sid, row.sender) if row.sent_at is not None else None


def _record(row: Any) -> MessageRecord:
    amount = None
    if row.amount_minor is not None:
        amount = Money(row.amount_minor, Currency(row.currency))
    return MessageRecord(
        position=row.position,
        sid=row.sid,
        account_sid=row.account_sid,
        status=MessageStatus(row.status),
        state=MessageState(row.state),
        org_id=row.org_id,
        channel=_channel(row),
        segments=row.segments,
        amount=amount,
        error_code=row.error_code,
        sent_at=row.sent_at,
        workflow_id=row.workflow_id,
        note=row.note,
        first_seen_at=row.first_seen_at,
        updated_at=row.updated_at,
    )
