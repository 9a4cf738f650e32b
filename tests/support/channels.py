"""Prices of channels for tests: of one organisation, since 2020, as none can be added any more."""

from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.ledger.money import Currency
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import SmsTariff
from store.schema import sms_tariffs
from tests.support.factories import unique


def price_of(channel: Channel, pence: str, org_id: str | None, **of: Any) -> SmsTariff:
    """A price a message, to anywhere, in pence."""
    figures: dict[str, Any] = {
        "sms_tariff_id": unique(f"{channel}-price"),
        "prefix": "",
        "currency": Currency.GBP,
        "price_minor_per_segment": Decimal(pence),
        "fx_rate": Decimal(1),
        "wallet_currency": Currency.GBP,
        "effective_from": datetime(2020, 1, 1, tzinfo=UTC),
    }
    return SmsTariff(**figures | of, org_id=org_id, channel=channel)


async def priced_since_2020(engine: AsyncEngine, channel: Channel, pence: str, org_id: str) -> None:
    """Let a channel have had a price for years, for an organisation."""
    async with engine.begin() as connection:
        await connection.execute(
            insert(sms_tariffs).values(asdict(price_of(channel, pence, org_id)))
        )
