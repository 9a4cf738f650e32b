"""Messages that wait: those that can be charged by now, and those of which nothing new is seen."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.wallet import Wallet
from billing.messages.message import Message, MessageState, SeenMessage
from store.messages import owners
from store.messages.messages import message_of
from store.schema import messages as table

_WAITING_FOR_US = [
    state for state in MessageState if state.waits and state is not MessageState.UNKNOWN_SEGMENTS
]


async def chargeable(connection: AsyncConnection, wallet: Wallet, limit: int) -> dict[str, Message]:
    """Lock and read the messages that wait for an organisation, oldest first, by their ids.

    They wait for money that its wallet has by now, or waited for a registration by which they are
    known as its own now. The two conditions have a partial index each.
    """
    org_id = wallet.org_id
    query = (
        select(table)
        .where(
            or_(
                and_(waits_for_money(org_id), table.c.amount_minor <= wallet.spendable_minor),
                and_(
                    table.c.state == MessageState.UNKNOWN_SENDER,
                    owners.came_to_be_of(org_id),
                ),
            )
        )
        .order_by(table.c.sent_at, table.c.sid)
        .limit(limit)
        .with_for_update()
    )
    found = [_readable(row) for row in await connection.execute(query)]
    return {one.sid: one for one in found if one is not None}


async def nothing_new(connection: AsyncConnection, seen: Sequence[SeenMessage]) -> set[str]:
    """Return the ids of those that wait, and of which no higher status is seen than is known.

    To settle them would have the same end, unless their reason to wait goes meanwhile. Whoever
    makes it go away settles them, and so does their own process. It is not so if Twilio has not
    said all: it may by now.
    """
    query = select(table.c.sid, table.c.status_rank).where(
        table.c.sid == func.any([one.sid for one in seen]),
        table.c.state.in_(_WAITING_FOR_US),
    )
    waiting = {row.sid: row.status_rank for row in await connection.execute(query)}
    return waiting.keys() - {one.sid for one in seen if one.status.rank > waiting.get(one.sid, -1)}


async def done_with(connection: AsyncConnection, sids: Collection[str]) -> set[str]:
    """Return those that are given up or given back. No status changes that."""
    query = select(table.c.sid).where(
        table.c.sid == func.any(list(sids)),
        table.c.state.in_((MessageState.DISCARDED, MessageState.REVERSED)),
    )
    return set(await connection.scalars(query))


def waits_for_money(org_id: str) -> ColumnElement[bool]:
    """Return the condition for the messages that an organisation could not pay."""
    return and_(table.c.org_id == org_id, table.c.state == MessageState.DEBT_LIMIT)


def _readable(row: Any) -> Message | None:
    """Read a message; None if nobody can: somebody has edited the row. Its own process shows it."""
    try:
        return message_of(row)
    except ValueError:
        return None
