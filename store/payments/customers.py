"""The customer at Stripe that an organisation is: one at a time, and those that it was."""

from collections.abc import Collection

from sqlalchemy import delete, func, select, union_all
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.entry import EntryKind, payment_credit_key
from store.schema import former_customers, ledger_entries, recharge_attempts
from store.schema import stripe_customers as table

# Of how many payments the payer is looked up, if nothing else says who an organisation is.
_LAST_PAID = 3


async def customer_of(connection: AsyncConnection, org_id: str) -> str | None:
    """Read the id of an organisation's customer at Stripe; None before its first payment."""
    query = select(table.c.customer_id).where(table.c.org_id == org_id)
    found: str | None = await connection.scalar(query)
    return found


async def organizations_of(
    connection: AsyncConnection, customer_ids: Collection[str]
) -> dict[str, str]:
    """Read whose customers these are, or were, by their ids. One that is nobody's is left out."""
    of_these = [
        select(one.c.customer_id, one.c.org_id).where(
            one.c.customer_id == func.any(list(customer_ids))
        )
        for one in (former_customers, table)
    ]
    found = await connection.execute(union_all(*of_these))
    return {row.customer_id: row.org_id for row in found}


async def remember(connection: AsyncConnection, org_id: str, customer_id: str) -> str:
    """Keep an organisation's customer; return the one that was kept first."""
    await connection.execute(
        insert(table).values(org_id=org_id, customer_id=customer_id).on_conflict_do_nothing()
    )
    return await customer_of(connection, org_id) or customer_id


async def forget(connection: AsyncConnection, org_id: str, customer_id: str) -> None:
    """Forget an organisation's customer, unless it is another one by now.

    A trigger keeps it among the former ones, as it does when a person deletes the row.
    """
    await connection.execute(
        delete(table).where(table.c.org_id == org_id, table.c.customer_id == customer_id)
    )


async def former(connection: AsyncConnection, org_id: str) -> set[str]:
    """Read the customers that an organisation was before."""
    query = select(former_customers.c.customer_id).where(former_customers.c.org_id == org_id)
    return set(await connection.scalars(query))


async def payer_of(connection: AsyncConnection, org_id: str, paid_by: str | None) -> str | None:
    """Return the customer that should have paid for an organisation: `paid_by`, if it was theirs.

    What a former customer of theirs has begun to pay is theirs, too.
    """
    if paid_by is not None and paid_by in await former(connection, org_id):
        return paid_by
    return await customer_of(connection, org_id)


async def named_by_attempts(connection: AsyncConnection, org_id: str) -> list[str]:
    """Read whose cards an organisation's recharges were to charge, the last one first."""
    attempts = recharge_attempts.c
    query = (
        select(attempts.customer_id)
        .where(attempts.org_id == org_id)
        .group_by(attempts.customer_id)
        .order_by(func.max(attempts.number).desc())
    )
    return list(await connection.scalars(query))


async def paid_last(connection: AsyncConnection, org_id: str) -> list[str]:
    """Read the payments that were credited to an organisation last, the last one first."""
    entries = ledger_entries.c
    query = (
        select(entries.key)
        .where(entries.org_id == org_id, entries.kind == EntryKind.TOPUP)
        .order_by(entries.entry_id.desc())
        .limit(_LAST_PAID)
    )
    keys = list(await connection.scalars(query))
    ids = [key.removeprefix("payment:").removesuffix(":credit") for key in keys]
    return [one for one, key in zip(ids, keys, strict=True) if payment_credit_key(one) == key]
