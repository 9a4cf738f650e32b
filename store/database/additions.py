"""What charges wait for, and who adds it, cannot miss each other.

Somebody adds an owner or a price, and then has what waits for it charged. A charge that found
neither is written down as waiting only later. So whoever adds holds a lock until the end of the
transaction, and whoever found nothing takes it, shared with others of its kind, looks once more,
and writes down what waits before letting go. Either finds what the other has done. Who finds
everything at the first look takes no lock.
"""

from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


class Addition(StrEnum):
    """What charges may wait for until somebody adds it."""

    REGISTRATION = "registrations"
    TARIFF = "tariffs"


_ADD = text("SELECT pg_advisory_xact_lock(hashtext(:name))")
_MISS = text("SELECT pg_advisory_xact_lock_shared(hashtext(:name))")


async def add(connection: AsyncConnection, what: Addition) -> None:
    """Let nobody add another, and nobody miss it, until the end of this transaction.

    What waits for it by then is to be read in a later statement.
    """
    await connection.execute(_ADD, {"name": what})


async def miss(connection: AsyncConnection, what: Addition) -> None:
    """Let nobody add one until the end of this transaction: what was not found is asked for again.

    It comes after the locks of calls and messages, as all that is found out about them does.
    """
    await connection.execute(_MISS, {"name": what})
