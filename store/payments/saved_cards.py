"""The card of each organisation that is charged next: saved by a payment, or seen at Stripe."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.recharges.attempt import Card, KeptCard
from store.schema import saved_cards as table


async def of(connection: AsyncConnection, org_id: str) -> KeptCard | None:
    """Read what is kept of an organisation's card; None if nothing is."""
    return (await of_all(connection, [org_id])).get(org_id)


async def of_all(connection: AsyncConnection, org_ids: Collection[str]) -> dict[str, KeptCard]:
    """Read what is kept of the cards of these organisations, by their ids."""
    query = select(table).where(table.c.org_id == func.any(list(org_ids)))
    return {row.org_id: _kept(row) for row in await connection.execute(query)}


async def save(
    connection: AsyncConnection,
    org_id: str,
    customer_id: str,
    payment_method_id: str,
    saved_at: datetime,
) -> None:
    """Keep the card that a payment has saved, unless a later payment has saved another."""
    values = {
        "customer_id": customer_id,
        "payment_method_id": payment_method_id,
        "fingerprint": None,
        "saved_at": saved_at,
        "is_default": False,
        "seen_at": func.now(),
    }
    is_later = or_(table.c.saved_at.is_(None), table.c.saved_at < saved_at)
    await connection.execute(
        insert(table)
        .values(org_id=org_id, **values)
        .on_conflict_do_update(index_elements=["org_id"], set_=values, where=is_later)
    )


async def seen(
    connection: AsyncConnection,
    org_id: str,
    customer_id: str,
    card: Card | None,
    before: KeptCard | None,
) -> None:
    """Keep which card Stripe has, if nothing was saved since `before` was read."""
    values = {
        "customer_id": customer_id,
        "payment_method_id": card.payment_method_id if card else None,
        "fingerprint": card.fingerprint if card else None,
        "is_default": True,
        "seen_at": func.now(),
    }
    saved_at = before.saved_at if before else None
    await connection.execute(
        insert(table)
        .values(org_id=org_id, **values)
        .on_conflict_do_update(
            index_elements=["org_id"],
            set_=values,
            where=table.c.saved_at.is_not_distinct_from(saved_at),
        )
    )


def _kept(row: Any) -> KeptCard:
    return KeptCard(
        row.org_id,
        row.customer_id,
        row.payment_method_id,
        row.fingerprint,
        row.saved_at,
        row.is_default,
    )
