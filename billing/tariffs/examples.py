"""Somebody's prices, for a demo: nobody is charged by them who has not asked for them."""

from datetime import UTC, datetime
from decimal import Decimal

from billing.ledger.money import Currency
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import SmsTariff
from billing.tariffs.tariff import Tariff

_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
# What a US dollar is in a wallet's currency.
_DOLLAR_IN = {Currency.GBP: Decimal("0.79"), Currency.USD: Decimal(1)}
# US cents a segment: North America, the United Kingdom, Germany, France, Australia, anywhere else.
_CENTS_A_SEGMENT = {"1": "1.5", "44": "6", "49": "12", "33": "9", "61": "6", "": "15"}
# US cents a message, to anywhere, over the channels that are free until they have a price.
_CENTS_A_MESSAGE = {Channel.WHATSAPP: "4", Channel.RCS: "3"}

# 70 US cents a minute, by the second.
CALLS = tuple(
    Tariff(
        tariff_id=f"default-{wallet}-2020",
        currency=Currency.USD,
        rate_minor_per_minute=Decimal(70),
        increment_seconds=1,
        minimum_minor=0,
        fx_rate=rate,
        wallet_currency=wallet,
        effective_from=_SINCE,
    )
    for wallet, rate in _DOLLAR_IN.items()
)
# MMS cost what SMS cost. Their ids are those of the copies that migration 0029 makes.
MESSAGES = tuple(
    SmsTariff(
        sms_tariff_id=f"default-{wallet}-{prefix or 'any'}-2020{suffix}",
        prefix=prefix,
        currency=Currency.USD,
        price_minor_per_segment=Decimal(cents),
        fx_rate=rate,
        wallet_currency=wallet,
        effective_from=_SINCE,
        channel=channel,
    )
    for channel, suffix in ((Channel.SMS, ""), (Channel.MMS, "-mms"))
    for prefix, cents in _CENTS_A_SEGMENT.items()
    for wallet, rate in _DOLLAR_IN.items()
)


def other_channels(since: datetime) -> tuple[SmsTariff, ...]:
    """Return the prices of WhatsApp and RCS, which can only begin in the future."""
    return tuple(
        SmsTariff(
            sms_tariff_id=f"default-{wallet}-{channel}",
            prefix="",
            currency=Currency.USD,
            price_minor_per_segment=Decimal(cents),
            fx_rate=rate,
            wallet_currency=wallet,
            effective_from=since,
            channel=channel,
        )
        for channel, cents in _CENTS_A_MESSAGE.items()
        for wallet, rate in _DOLLAR_IN.items()
    )
