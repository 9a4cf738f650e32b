"""What people change: written into the book of powers, and told if others should know at once."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admin_log import AdminChange, AdminRecord
from billing.alerts.alert import Alert
from store import admin_log
from store.alerts import alerts


async def record(
    connection: AsyncConnection,
    change: AdminChange | None,
    alert: Callable[[AdminRecord], Alert] | None = None,
) -> AdminRecord | None:
    """Write down a change in the transaction that makes it, and store the alert that tells of it.

    Return None, and tell nobody, where there is nothing new to write.
    """
    written = await admin_log.write(connection, change) if change else None
    if written is not None and alert is not None:
        await alerts.tell(connection, alert(written))
    return written
