"""Which customer of Stripe's an organisation is: one, for ever."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import stripe_customers as table


async def customer_of(connection: AsyncConnection, org_id: str) -> str | None:
    """Read the id of an organisation's customer at Stripe; None before its first payment."""
    query = select(table.c.customer_id).where(table.c.org_id == org_id)
    found: str | None = await connection.scalar(query)
    return found


async def organization_of(connection: AsyncConnection, customer_id: str) -> str | None:
    """Read whose customer this is; None for one of somebody else's."""
    query = select(table.c.org_id).where(table.c.customer_id == customer_id)
    found: str | None = await connection.scalar(query)
    return found


async def remember(connection: AsyncConnection, org_id: str, customer_id: str) -> str:
    """Keep an organisation's customer; answers with the one that was kept first."""
    await connection.execute(
        insert(table).values(org_id=org_id, customer_id=customer_id).on_conflict_do_nothing()
    )
    return await customer_of(connection, org_id) or customer_id
