"""The server itself: which versions of PostgreSQL this code is written for."""

from sqlalchemy import Integer, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database.errors import Unusable

OLDEST = 15
_VERSION = select(
    cast(func.current_setting("server_version_num"), Integer).label("number"),
    func.current_setting("server_version").label("name"),
)


class TooOld(Unusable):
    """The server lacks what this code uses."""


async def require(connection: AsyncConnection) -> None:
    """Raise TooOld for a server that is older than the oldest that is tested."""
    found = (await connection.execute(_VERSION)).one()
    if found.number < OLDEST * 10_000:
        raise TooOld(f"PostgreSQL {found.name} is too old: callwallet needs {OLDEST} or newer")
