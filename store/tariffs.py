"""The table of rates."""

from collections.abc import Collection

from sqlalchemy import RowMapping, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Currency
from billing.tariff import Tariff
from store.schema import tariffs


async def for_organizations(connection: AsyncConnection, org_ids: Collection[str]) -> list[Tariff]:
    """Read the default tariffs and the organisations' own, of all times."""
    query = select(tariffs).where(
        or_(tariffs.c.org_id.is_(None), tariffs.c.org_id == func.any(list(org_ids)))
    )
    return [of(row) for row in (await connection.execute(query)).mappings()]


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
