"""What people were told about an organisation's recharges."""

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.alerts.alert import AlarmKind, Alert
from store.alerts import alerts
from tests.support.recharged_payers import Payer


async def told(engine: AsyncEngine, payer: Payer) -> list[Alert]:
    """Read the alerts about an organisation's recharges, oldest first.

    The watch tells of its balance as well, if a round of another test falls into this one.
    """
    async with engine.connect() as connection:
        records = await alerts.page(connection, None, 1000)
    about = [one.alert for one in reversed(records) if one.alert.org_id == payer.org_id]
    return [alert for alert in about if not alert.key.startswith(AlarmKind.BALANCE)]
