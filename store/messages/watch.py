"""Messages whose end is to be known: those that a workflow waits for, and those that need one."""

from collections.abc import Collection

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.messages.message import MessageState, MessageStatus, SeenMessage
from store.schema import messages as table

# A message that no workflow watches gets one if its end is not known after this long.
UNWATCHED_SECONDS = 600.0
# A new message gets this as its `watch_at`, and a workflow of its own clears it in its first step.
UNWATCHED = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, UNWATCHED_SECONDS)


async def watched(connection: AsyncConnection, sids: Collection[str]) -> set[str]:
    """Return those of these messages whose end a workflow of their own waits for."""
    query = select(table.c.sid).where(
        table.c.sid == func.any(list(sids)),
        table.c.state != MessageState.DISCARDED,
        table.c.watch_at.is_(None),
        table.c.status_rank < MessageStatus.DELIVERED.rank,
    )
    return {row.sid for row in await connection.execute(query)}


async def stop_watching(connection: AsyncConnection, sids: Collection[str]) -> None:
    """Record that a workflow watches these messages, or that there is nothing left to watch."""
    await connection.execute(
        update(table).where(table.c.sid == func.any(list(sids))).values(watch_at=None)
    )


async def unwatched(connection: AsyncConnection, limit: int) -> list[str]:
    """Lock up to `limit` messages whose end should be known by now, and that no workflow watches.

    SKIP LOCKED: what another transaction works on need not be taken, and nobody waits.
    """
    query = (
        select(table.c.sid)
        .where(table.c.watch_at <= func.now())
        .order_by(table.c.watch_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(await connection.scalars(query))


async def take(connection: AsyncConnection, sids: Collection[str]) -> list[SeenMessage]:
    """Take messages; they are due again after `UNWATCHED_SECONDS` if no workflow watches them."""
    taken = await connection.execute(
        update(table)
        .where(table.c.sid == func.any(list(sids)))
        .values(watch_at=UNWATCHED)
        .returning(table.c.sid, table.c.account_sid, table.c.status)
    )
    return [SeenMessage(row.sid, row.account_sid, MessageStatus(row.status)) for row in taken]
