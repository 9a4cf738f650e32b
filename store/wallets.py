"""Organisations and their wallets."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import Conflict, NotFound
from billing.money import Currency
from billing.organization import Organization
from billing.wallet import Wallet
from store.schema import organizations, wallets


async def create(
    connection: AsyncConnection, org_id: str, name: str, currency: Currency, debt_limit_minor: int
) -> Organization:
    """Create an organisation and its empty wallet; the same again gives what exists.

    Raises Conflict when the id is taken with another name, currency or debt limit.
    """
    made = await connection.execute(
        upsert(organizations)
        .values(org_id=org_id, name=name)
        .on_conflict_do_nothing()
        .returning(organizations.c.org_id)
    )
    is_new = made.first() is not None
    if is_new:
        await connection.execute(
            insert(wallets).values(
                org_id=org_id, currency=currency, debt_limit_minor=debt_limit_minor
            )
        )
    organization, wallet = await read(connection, org_id), await wallet_of(connection, org_id)
    wanted = (name, currency, debt_limit_minor)
    if not is_new and wanted != (
        organization.name,
        wallet.currency,
        wallet.debt_limit_minor,
    ):
        raise Conflict(f"organization {org_id} exists with other settings")
    return organization


async def read(connection: AsyncConnection, org_id: str) -> Organization:
    """Read one organisation; raises NotFound."""
    found = await connection.execute(select(organizations).where(organizations.c.org_id == org_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no organization {org_id}")
    return Organization(*row)


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[Organization]:
    """List organisations by id, from the one after `after`."""
    query = select(organizations).order_by(organizations.c.org_id).limit(limit)
    if after is not None:
        query = query.where(organizations.c.org_id > after)
    return [Organization(*row) for row in await connection.execute(query)]


async def wallet_of(connection: AsyncConnection, org_id: str) -> Wallet:
    """Read one wallet; raises NotFound."""
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
    """Lock wallets until the transaction ends, in id order so that two callers cannot deadlock.

    An organisation that does not exist is left out.
    """
    query = (
        select(wallets)
        .where(wallets.c.org_id.in_(sorted(set(org_ids))))
        .order_by(wallets.c.org_id)
        .with_for_update()
    )
    return {row.org_id: _wallet(row) for row in await connection.execute(query)}


async def set_debt_limit(connection: AsyncConnection, org_id: str, debt_limit_minor: int) -> Wallet:
    """Set how far below zero the wallet may go; raises NotFound."""
    await connection.execute(
        update(wallets).where(wallets.c.org_id == org_id).values(debt_limit_minor=debt_limit_minor)
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
