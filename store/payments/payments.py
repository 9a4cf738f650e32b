"""Payments that a person has given up. All else about payments is at Stripe and in the ledger."""

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.entry import EntryKind
from billing.platform_rules import UntypedPayments
from store.schema import discarded_payments as table
from store.schema import ledger_entries


async def lock(connection: AsyncConnection, payment_id: str) -> None:
    """Let one transaction at a time decide about a payment, until it ends; wallets come after.

    A wallet's lock does not do that: before the payment is credited, two transactions that have
    read it at different times may look at two wallets.
    """
    number = func.hashtextextended(f"payment:{payment_id}", 0)
    await connection.execute(select(func.pg_advisory_xact_lock(number)))


async def untyped_are_ours(connection: AsyncConnection, setting: UntypedPayments) -> bool:
    """Return whether a payment that has no type, and names an organisation, is taken for ours.

    A database that has credited such payments goes on doing so, unless the setting says otherwise:
    version 0.1 did, and did not note of which type a payment was. Its first top-up has no note.
    """
    if setting is not UntypedPayments.AUTO:
        return setting is UntypedPayments.CREDITED
    query = (
        select(ledger_entries.c.note)
        .where(ledger_entries.c.kind == EntryKind.TOPUP)
        .order_by(ledger_entries.c.entry_id)
        .limit(1)
    )
    return await connection.scalar(query) == ""


async def discard(connection: AsyncConnection, payment_id: str, note: str) -> None:
    """Record who gave a payment up, and why. Of several, the last one counts."""
    given_up = insert(table).values(payment_id=payment_id, note=note)
    await connection.execute(
        given_up.on_conflict_do_update(
            index_elements=["payment_id"],
            set_={"note": given_up.excluded.note, "discarded_at": func.now()},
        )
    )


async def discarded(connection: AsyncConnection, payment_ids: Collection[str]) -> dict[str, str]:
    """Return those of these payments that were given up, each with who did so and why."""
    query = select(table).where(table.c.payment_id == func.any(list(payment_ids)))
    return {row.payment_id: row.note for row in await connection.execute(query)}
