"""What a message costs: prices by channel and destination, with effective dates; one rounding."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.errors import NoTariff
from billing.ledger.money import Currency, Money, round_up
from billing.tariffs.channel import Channel
from billing.tariffs.tariff import Tariff, in_effect, require_plausible

# As much of a number (E.164, without its plus) as a price can depend on, and as is kept of it:
# enough for a country and an area, and for nobody's telephone.
DESTINATION_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SmsTariff:
    """A price from `effective_from` on, for numbers that begin with `prefix` (all, if empty).

    It is for messages over `channel`, and no others. `price_minor_per_segment` is in `currency`;
    `fx_rate` turns that into `wallet_currency`. `org_id` is None for a default. A tariff that was
    used never changes; a new one follows it.
    """

    sms_tariff_id: str
    prefix: str
    currency: Currency
    price_minor_per_segment: Decimal
    fx_rate: Decimal
    wallet_currency: Currency
    effective_from: datetime
    org_id: str | None = None
    channel: Channel = Channel.SMS


@dataclass(frozen=True, slots=True)
class MessageCharge:
    """A priced message, and how the amount came about."""

    amount: Money
    segments: int
    sms_tariff_id: str
    note: str


def price_message(tariff: SmsTariff, segments: int) -> MessageCharge:
    """Charge `segments` by the tariff: exact, then rounded up once, in the wallet's currency.

    A message of two segments at 0.83 cents is not two segments of a cent. Raise NoTariff if it
    comes to more than anything can cost.
    """
    exact = Fraction(tariff.price_minor_per_segment) * segments * Fraction(tariff.fx_rate)
    require_plausible(tariff.sms_tariff_id, round_up(exact))
    amount = Money(round_up(exact), tariff.wallet_currency)
    price = f"{tariff.price_minor_per_segment.normalize():f} {tariff.currency.upper()} minor units"
    note = (
        f"{segments} x {price} by {tariff.channel} to {tariff.prefix or 'anywhere'}"
        f" at {tariff.fx_rate.normalize():f}, charged as {amount} ({tariff.sms_tariff_id})"
    )
    return MessageCharge(amount, segments, tariff.sms_tariff_id, note)


def sms_tariff_at(
    tariffs: Iterable[SmsTariff],
    org_id: str,
    wallet_currency: Currency,
    destination: str,
    moment: datetime,
    *,
    channel: Channel,
) -> SmsTariff:
    """Choose a channel's price at `moment` for a destination (digits, without the plus).

    An organisation's own before the default, then the longest prefix, then the newest. Raise
    NoTariff when there is none.
    """
    of_channel = (one for one in tariffs if one.channel is channel)
    found = in_effect(of_channel, org_id, wallet_currency, moment, destination)
    if found is None:
        raise NoTariff(
            f"no {wallet_currency} price of a message by {channel} at {moment.isoformat()}"
        )
    return found


def first_price(
    tariffs: Iterable[SmsTariff], channel: Channel, org_id: str | None, currency: Currency
) -> datetime | None:
    """Return since when a channel has any price, to wherever, that may count for an organisation.

    None where it has none. Without `org_id`, of the defaults alone.
    """
    begun = (
        one.effective_from
        for one in tariffs
        if one.channel is channel
        and one.wallet_currency is currency
        and one.org_id in (org_id, None)
    )
    return min(begun, default=None)


def charges_what_was_free(
    new: Tariff | SmsTariff, others: Iterable[Tariff | SmsTariff], now: datetime
) -> bool:
    """Return whether a price would begin before `now`, and before the first of its channel.

    What was sent then cost nothing, if that is how its channel begins.
    """
    if isinstance(new, Tariff) or not new.channel.is_free_at_first:
        return False
    prices = [one for one in others if isinstance(one, SmsTariff)]
    first = first_price(prices, new.channel, new.org_id, new.wallet_currency)
    return new.effective_from < min(now, first or now)
