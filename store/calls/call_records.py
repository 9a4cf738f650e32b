"""Read calls: one, or a page of them."""

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState, EndedCall
from billing.calls.call_record import CallRecord
from billing.errors import NotFound
from billing.ledger.money import Currency, Money
from billing.tariffs.tariff import Charge
from store.database.pages import fits, newest_first
from store.schema import calls as table

FACTS = TypeAdapter(EndedCall)


async def read(connection: AsyncConnection, call_id: str) -> CallRecord:
    """Read one call; raise NotFound."""
    found = await connection.execute(select(table).where(table.c.call_id == call_id))
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"no call {call_id} has been received")
    return call_record(row)


async def page(
    connection: AsyncConnection,
    org_id: str,
    before: int | None,
    limit: int,
    state: CallState | None = None,
) -> list[CallRecord]:
    """List an organisation's calls, newest first, from the one before position `before`."""
    query = select(table).where(table.c.org_id == org_id, *fits(table, state=state))
    query = newest_first(query, table.c.position, before, limit)
    return [call_record(row) for row in await connection.execute(query)]


def call_record(row: Any) -> CallRecord:
    """Return what a call's row holds."""
    return CallRecord(
        position=row.position,
        call=FACTS.validate_python(row.facts),
        state=CallState(row.state),
        org_id=row.org_id,
        charge=None if row.amount_minor is None else charge_of(row),
        workflow_id=row.workflow_id,
        note=row.note,
        first_seen_at=row.first_seen_at,
        updated_at=row.updated_at,
        correction_given_up=row.correction_given_up,
    )


def charge_of(row: Any) -> Charge:
    """Return the charge that a call's row holds."""
    return Charge(
        amount=Money(row.amount_minor, Currency(row.currency)),
        rated=Money(row.rated_minor, Currency(row.rated_currency)),
        billed_seconds=row.billed_seconds,
        tariff_id=row.tariff_id,
    )
