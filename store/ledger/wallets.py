"""Wallets: read, locked, and limited."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import NotFound
from billing.ledger.money import Currency
from billing.ledger.wallet import Wallet
from store.schema import wallets


async def wallet_of(connection: AsyncConnection, org_id: str) -> Wallet:
    """Read one wallet; raise NotFound."""
    found = await connection.execute(select(wallets).where(wallets.c.org_id == org_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no organization {org_id}")
    return _wallet(row)


async def of(connection: AsyncConnection, org_ids: Collection[str]) -> dict[str, Wallet]:
    """Read wallets, without a lock. An organisation that does not exist is left out."""
    query = select(wallets).where(wallets.c.org_id.in_(set(org_ids)))
    return {row.org_id: _wallet(row) for row in await connection.execute(query)}


async def lock(connection: AsyncConnection, org_ids: Collection[str]) -> dict[str, Wallet]:
    """Lock wallets until the transaction ends, and read them.

    The order of ids is the same for all callers, so that no two of them can deadlock. An
    organisation that does not exist is left out.
    """
    query = (
        select(wallets)
        .where(wallets.c.org_id.in_(sorted(set(org_ids))))
        .order_by(wallets.c.org_id)
        .with_for_update()
    )
    return {row.org_id: _wallet(row) for row in await connection.execute(query)}


async def set_debt_limit(connection: AsyncConnection, org_id: str, debt_limit_minor: int) -> Wallet:
    """Set how far below zero the wallet may go; raise NotFound."""
    await connection.execute(
        update(wallets)
        .where(wallets.c.org_id == org_id)
        .values(debt_limit_minor=debt_limit_minor, updated_at=func.now())
    )
    return await wallet_of(connection, org_id)


def _wallet(row: Any) -> Wallet:
    return Wallet(
        org_id=row.org_id,
        currency=Currency(row.currency),
        balance_minor=row.balance_minor,
        debt_limit_minor=row.debt_limit_minor,
        low_balance_minor=row.low_balance_minor,
        recharge_below_minor=row.recharge_below_minor,
    )
