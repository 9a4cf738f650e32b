"""Messages, read: one, a page of them, and what became of those of a time."""

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.delivery import Delivery, delivery
from billing.errors import NotFound
from billing.message import MessageRecord, MessageState, MessageStatus
from billing.money import Currency, Money
from store.schema import messages as table


async def read(connection: AsyncConnection, sid: str) -> MessageRecord:
    """Read one message; raises NotFound."""
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
    query = select(table).where(table.c.org_id == org_id)
    if before is not None:
        query = query.where(table.c.position < before)
    if state is not None:
        query = query.where(table.c.state == state)
    query = query.order_by(table.c.position.desc()).limit(limit)
    return [_record(row) for row in await connection.execute(query)]


async def delivered(
    connection: AsyncConnection, org_id: str, since: datetime, until: datetime
) -> Delivery:
    """Say what became of an organisation's messages that were first heard of in a time."""
    query = (
        select(table.c.status, func.count().label("messages"))
        .where(table.c.org_id == org_id)
        .where(table.c.first_seen_at >= since, table.c.first_seen_at < until)
        .group_by(table.c.status)
    )
    rows = await connection.execute(query)
    return delivery({MessageStatus(row.status): row.messages for row in rows})


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
        segments=row.segments,
        amount=amount,
        error_code=row.error_code,
        sent_at=row.sent_at,
        workflow_id=row.workflow_id,
        note=row.note,
        first_seen_at=row.first_seen_at,
        updated_at=row.updated_at,
    )
