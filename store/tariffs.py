"""The table of rates."""

from collections.abc import Collection

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Currency
from billing.tariff import Tariff
from store.schema import tariffs


async def for_organizations(connection: AsyncConnection, org_ids: Collection[str]) -> list[Tariff]:
    """Read the default tariffs and the organisations' own, of all times."""
    query = select(tariffs).where(
        or_(tariffs.c.org_id.is_(None), tariffs.c.org_id == func.any(list(org_ids)))
    )
    return [
        Tariff(
            tariff_id=row.tariff_id,
            currency=Currency(row.currency),
            rate_minor_per_minute=row.rate_minor_per_minute,
            increment_seconds=row.increment_seconds,
            minimum_minor=row.minimum_minor,
            fx_rate=row.fx_rate,
            wallet_currency=Currency(row.wallet_currency),
            effective_from=row.effective_from,
            org_id=row.org_id,
        )
        for row in await connection.execute(query)
    ]
