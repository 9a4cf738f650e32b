"""Whether this session can write: a server that was failed over from answers all that is read."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database.errors import Unusable

_ASKED = text(
    "SELECT current_setting('transaction_read_only') = 'on' AS is_read_only,"
    " has_table_privilege('webhook_events', 'INSERT') AS may_write"
)


class NotWritable(Unusable):
    """PostgreSQL answers, and keeps nothing. The text says why."""


async def require(connection: AsyncConnection) -> None:
    """Raise NotWritable if a webhook could not be stored by this session."""
    found = (await connection.execute(_ASKED)).one()
    if found.is_read_only:
        raise NotWritable("the database is read-only")
    if not found.may_write:
        raise NotWritable("the database role may not write webhooks")
