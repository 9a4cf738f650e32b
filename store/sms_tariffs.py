"""The table of prices of messages."""

from collections.abc import Collection

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Currency
from billing.sms_tariff import SmsTariff
from store.schema import sms_tariffs


async def for_organizations(
    connection: AsyncConnection, org_ids: Collection[str]
) -> list[SmsTariff]:
    """Read the default prices and the organisations' own, of all destinations and times."""
    query = select(sms_tariffs).where(
        or_(sms_tariffs.c.org_id.is_(None), sms_tariffs.c.org_id == func.any(list(org_ids)))
    )
    return [
        SmsTariff(
            sms_tariff_id=row.sms_tariff_id,
            prefix=row.prefix,
            currency=Currency(row.currency),
            price_minor_per_segment=row.price_minor_per_segment,
            fx_rate=row.fx_rate,
            wallet_currency=Currency(row.wallet_currency),
            effective_from=row.effective_from,
            org_id=row.org_id,
        )
        for row in await connection.execute(query)
    ]
