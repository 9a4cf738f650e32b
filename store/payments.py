"""Payments that a person has given up; all else about payments is at Stripe and in the ledger."""

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from store.schema import discarded_payments as table


async def discard(connection: AsyncConnection, payment_id: str, note: str) -> None:
    """Record who gave a payment up, and why; the last one who did counts."""
    given_up = insert(table).values(payment_id=payment_id, note=note)
    await connection.execute(
        given_up.on_conflict_do_update(
            index_elements=["payment_id"],
            set_={"note": given_up.excluded.note, "discarded_at": func.now()},
        )
    )


async def discarded(connection: AsyncConnection, payment_ids: Collection[str]) -> set[str]:
    """Find those of these payments that were given up."""
    query = select(table.c.payment_id).where(table.c.payment_id == func.any(list(payment_ids)))
    return {row.payment_id for row in await connection.execute(query)}
