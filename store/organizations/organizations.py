"""Organisations, each of which is created with its wallet."""

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import Conflict, NotFound
from billing.ledger.money import Currency
from billing.organizations import Organization
from store.database.pages import in_order
from store.ledger.wallets import wallet_of
from store.schema import organizations, wallets


async def create(
    connection: AsyncConnection, org_id: str, name: str, currency: Currency, debt_limit_minor: int
) -> tuple[Organization, bool]:
    """Create an organisation and its empty wallet, and say whether it is new.

    The same again gives what exists. Raise Conflict if the id is taken with another name, currency
    or debt limit.
    """
    # Of two that create the same at once, the second waits here for the first, and finds it.
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
    return organization, is_new


async def read(connection: AsyncConnection, org_id: str) -> Organization:
    """Read one organisation; raise NotFound."""
    found = await connection.execute(select(organizations).where(organizations.c.org_id == org_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no organization {org_id}")
    return Organization(*row)


async def page(connection: AsyncConnection, after: str | None, limit: int) -> list[Organization]:
    """List organisations by id, from the one after `after`."""
    query = in_order(select(organizations), organizations.c.org_id, after, limit)
    return [Organization(*row) for row in await connection.execute(query)]
