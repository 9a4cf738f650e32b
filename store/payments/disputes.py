"""Which disputes are open: while one is, no card of its organisation is charged."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import disputes as table


async def note(
    connection: AsyncConnection, org_id: str, payment_id: str, dispute_id: str, *, is_open: bool
) -> None:
    """Keep whether a dispute is open. The ledger cannot say, for a lost one posts nothing.

    It is of the organisation that the payment was credited to, whoever had it before.
    """
    values = {"org_id": org_id, "is_open": is_open, "updated_at": func.now()}
    await connection.execute(
        insert(table)
        .values(dispute_id=dispute_id, org_id=org_id, payment_id=payment_id, is_open=is_open)
        .on_conflict_do_update(index_elements=["dispute_id"], set_=values)
    )


async def of_payment(connection: AsyncConnection, payment_id: str) -> dict[str, bool]:
    """Read which disputes of a payment are known, and whether each is open."""
    query = select(table).where(table.c.payment_id == payment_id)
    return {row.dispute_id: row.is_open for row in await connection.execute(query)}


async def open_here(
    connection: AsyncConnection, org_id: str | None, after: str, limit: int
) -> dict[str, str]:
    """Read the disputes that are open here, of one organisation or of all, with their payments."""
    query = select(table).where(table.c.is_open, table.c.dispute_id > after)
    if org_id is not None:
        query = query.where(table.c.org_id == org_id)
    query = query.order_by(table.c.dispute_id).limit(limit)
    return {row.dispute_id: row.payment_id for row in await connection.execute(query)}
