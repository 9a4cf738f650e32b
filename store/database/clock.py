"""The database's clock, by which its rows are dated."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection


async def now(connection: AsyncConnection) -> datetime:
    """Read the clock as it is at this moment, and not as it was when the transaction began."""
    moment: datetime = (await connection.execute(select(func.clock_timestamp()))).scalar_one()
    return moment
