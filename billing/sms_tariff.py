"""What a message costs: prices a segment by destination, with effective dates, and one rounding."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from billing.errors import NoTariff
from billing.money import Currency, Money

# As much of a number (E.164, without its plus) as a price can depend on, and as is kept of it:
# enough for a country and an area, and for nobody's telephone.
DESTINATION_DIGITS = 6


@dataclass(frozen=True, slots=True)
class SmsTariff:
    """A price from `effective_from` on, for numbers that begin with `prefix` (all, if empty).

    `price_minor_per_segment` is in `currency`; `fx_rate` turns that into `wallet_currency`.
    `org_id` is None for a default. A tariff that was used never changes; a new one follows it.
    """

    sms_tariff_id: str
    prefix: str
    currency: Currency
    price_minor_per_segment: Decimal
    fx_rate: Decimal
    wallet_currency: Currency
    effective_from: datetime
    org_id: str | None = None


@dataclass(frozen=True, slots=True)
class MessageCharge:
    """A priced message, and how the amount came about."""

    amount: Money
    segments: int
    sms_tariff_id: str
    note: str


def price_message(tariff: SmsTariff, segments: int) -> MessageCharge:
    """Charge `segments` by the tariff: exact, then rounded up once, in the wallet's currency.

    A message of two segments at 0.83 cents is not two segments of a cent.
    """
    exact = Fraction(tariff.price_minor_per_segment) * segments * Fraction(tariff.fx_rate)
    amount = Money(round_up(exact), tariff.wallet_currency)
    price = f"{tariff.price_minor_per_segment.normalize():f} {tariff.currency.upper()} minor units"
    note = (
        f"{segments} x {price} to {tariff.prefix or 'anywhere'}"
        f" at {tariff.fx_rate.normalize():f}, charged as {amount} ({tariff.sms_tariff_id})"
    )
    return MessageCharge(amount, segments, tariff.sms_tariff_id, note)


def round_up(exact: Fraction) -> int:
    """Round to whole minor units, up: the one rounding of a message's price."""
    return -(-exact.numerator // exact.denominator)


def sms_tariff_at(
    tariffs: Iterable[SmsTariff],
    org_id: str,
    wallet_currency: Currency,
    destination: str,
    moment: datetime,
) -> SmsTariff:
    """Choose the price in effect at `moment` for a destination (digits, without the plus).

    An organisation's own before the default, then the longest prefix, then the newest. Raises
    NoTariff when there is none.
    """
    candidates = [
        tariff
        for tariff in tariffs
        if tariff.wallet_currency is wallet_currency
        and tariff.org_id in (org_id, None)
        and destination.startswith(tariff.prefix)
        and tariff.effective_from <= moment
    ]
    if not candidates:
        raise NoTariff(f"no {wallet_currency} price of a message at {moment.isoformat()}")
    return max(
        candidates,
        key=lambda one: (one.org_id is not None, len(one.prefix), one.effective_from),
    )


def overtaken(new: SmsTariff, others: Iterable[SmsTariff], now: datetime) -> SmsTariff | None:
    """Find a price instead of which `new` would be that of messages sent before `now`.

    Looks at the numbers that begin with its prefix, and at those for which there are longer ones.
    """
    competing = [one for one in others if one.org_id in (new.org_id, None)]
    starts = {new.effective_from, *(one.effective_from for one in competing)}
    longer = {one.prefix for one in competing if one.prefix.startswith(new.prefix)}
    for moment in sorted(one for one in starts if new.effective_from <= one < now):
        for destination in sorted({new.prefix} | longer):
            before = _at(competing, new, destination, moment)
            if before is not None and _at([*competing, new], new, destination, moment) == new:
                return before
    return None


def _at(
    tariffs: Iterable[SmsTariff], new: SmsTariff, destination: str, moment: datetime
) -> SmsTariff | None:
    try:
        return sms_tariff_at(tariffs, new.org_id or "", new.wallet_currency, destination, moment)
    except NoTariff:
        return None
