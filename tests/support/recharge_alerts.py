"""What people were told about an organisation's recharges."""

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.alerts.alert import Alert
from store.alerts import alerts
from tests.support.recharged_payers import Payer


async def told(engine: AsyncEngine, payer: Payer) -> list[Alert]:
    """Read the alerts about an organisation, oldest first."""
    async with engine.connect() as connection:
        records = await alerts.page(connection, None, 1000)
    return [one.alert for one in reversed(records) if one.alert.org_id == payer.org_id]
