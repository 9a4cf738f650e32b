"""Give a message's charge up, for a person decided so; what is charged stays charged."""

from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.messages.message import MessageState
from store.schema import messages as table


async def discard(connection: AsyncConnection, sid: str, note: str) -> bool:
    """Record that a person gave a charge up; return False if it was charged in the meantime.

    Whoever charges it locks the message's row before the wallet, and so do we by writing it.
    """
    paid = (MessageState.CHARGED, MessageState.REVERSED)
    done = await connection.execute(
        update(table)
        .where(table.c.sid == sid, table.c.state.not_in(paid))
        .values(state=MessageState.DISCARDED, note=note, watch_at=None, updated_at=func.now())
        .returning(table.c.sid)
    )
    return done.first() is not None
