"""The table of rates: read, and added to; a row that is there stays as it is."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import RowMapping, func, insert, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.call import CallState
from billing.errors import ChangesThePast, Conflict
from billing.money import Currency
from billing.tariff import Tariff, overtaken
from store.schema import calls, tariffs, wallets
from store.tariff_lists import listing


async def for_organizations(connection: AsyncConnection, org_ids: Collection[str]) -> list[Tariff]:
    """Read the default tariffs and the organisations' own, of all times."""
    query = select(tariffs).where(
        or_(tariffs.c.org_id.is_(None), tariffs.c.org_id == func.any(list(org_ids)))
    )
    return [of(row) for row in (await connection.execute(query)).mappings()]


async def lock(connection: AsyncConnection) -> None:
    """Let one transaction at a time add to a table of prices; those who charge do not wait."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tariffs'))"))


async def now(connection: AsyncConnection) -> datetime:
    """Read the database's clock."""
    moment: datetime | None = await connection.scalar(select(func.clock_timestamp()))
    if moment is None:
        raise ValueError("PostgreSQL does not know what time it is")
    return moment


async def add(connection: AsyncConnection, new: Tariff) -> bool:
    """Add a tariff; False when it is there already, the very same.

    One at a time, for what is in effect decides what may be added. Raises Conflict when its id or
    its place is taken, and ChangesThePast.
    """
    await lock(connection)
    rows = (await connection.execute(select(tariffs))).mappings()
    others = {row["tariff_id"]: of(row) for row in rows}
    if others.get(new.tariff_id) == new:
        return False
    _require_free(new, others.values())
    changed = overtaken(new, others.values(), await now(connection))
    if changed is not None:
        raise ChangesThePast(
            f"{changed.tariff_id} was in effect then: let this one begin later than now"
        )
    await connection.execute(insert(tariffs).values(asdict(new)))
    return True


async def page(
    connection: AsyncConnection,
    after: str | None,
    limit: int,
    *,
    org_id: str | None = None,
    in_effect: bool = False,
) -> list[Tariff]:
    """List tariffs by id: all, or those that are or may come to be in effect for an organisation.

    With `in_effect`, of each organisation and wallet currency the one that is now.
    """
    scope = (tariffs.c.org_id, tariffs.c.wallet_currency)
    query = listing(tariffs, scope, after, org_id=org_id, in_effect=in_effect).limit(limit)
    return [of(row) for row in (await connection.execute(query)).mappings()]


async def waiting(
    connection: AsyncConnection, org_id: str | None, currency: Currency, limit: int
) -> list[tuple[str, str]]:
    """Of calls that wait for a tariff, the organisation and the call's id; oldest first.

    Those of one organisation, or of all whose wallets are in this currency.
    """
    query = (
        select(calls.c.org_id, calls.c.call_id)
        .join(wallets, wallets.c.org_id == calls.c.org_id)
        .where(calls.c.state == CallState.NO_TARIFF, wallets.c.currency == currency)
        .order_by(calls.c.ended_at, calls.c.call_id)
        .limit(limit)
    )
    if org_id is not None:
        query = query.where(calls.c.org_id == org_id)
    return [(row.org_id, row.call_id) for row in await connection.execute(query)]


def of(row: RowMapping) -> Tariff:
    """Make a tariff of a row that has the table's columns, whatever else it has."""
    return Tariff(
        tariff_id=row[tariffs.c.tariff_id],
        currency=Currency(row[tariffs.c.currency]),
        rate_minor_per_minute=row[tariffs.c.rate_minor_per_minute],
        increment_seconds=row[tariffs.c.increment_seconds],
        minimum_minor=row[tariffs.c.minimum_minor],
        fx_rate=row[tariffs.c.fx_rate],
        wallet_currency=Currency(row[tariffs.c.wallet_currency]),
        effective_from=row[tariffs.c.effective_from],
        org_id=row[tariffs.c.org_id],
    )


def _require_free(new: Tariff, others: Collection[Tariff]) -> None:
    """Raise Conflict for an id that is taken, or a second one that begins at the same moment."""
    for one in others:
        place = (one.org_id, one.wallet_currency, one.effective_from)
        if one.tariff_id == new.tariff_id:
            raise Conflict(f"tariff {one.tariff_id} exists with other figures, and stays as it is")
        if place == (new.org_id, new.wallet_currency, new.effective_from):
            raise Conflict(f"tariff {one.tariff_id} begins at the same moment")
