"""Whether a new price is so much lower than the one before that people should know of it."""

from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction

from billing.tariffs.sms_tariff import SmsTariff
from billing.tariffs.tariff import Price, Tariff, in_effect

# A call of a minute, and one of an hour: a minimum may hide a rate, and a rate a minimum.
_MINUTES = (1, 60)
_HALF = Fraction(1, 2)


def is_price_fall(new: Price, others: Iterable[Price], now: datetime) -> bool:
    """Return whether `new` charges less than half of what would be charged without it, or nothing.

    Compared is what is in effect when it begins, or now if it began before.
    """
    same = [one for one in others if one.channel == new.channel and one != new]
    moment = max(new.effective_from, now)
    before = in_effect(same, new.org_id or "", new.wallet_currency, moment, new.prefix)
    costs = _costs(new)
    if not all(costs):
        return True
    if before is None:
        return False
    return any(cost < was * _HALF for cost, was in zip(costs, _costs(before), strict=True))


def _costs(price: object) -> list[Fraction]:
    """Return what some things cost by a price, in minor units of the wallet's currency, exactly."""
    if isinstance(price, Tariff):
        rate, fx = Fraction(price.rate_minor_per_minute), Fraction(price.fx_rate)
        minimum = Fraction(price.minimum_minor)
        return [max(rate * minutes, minimum) * fx for minutes in _MINUTES]
    if isinstance(price, SmsTariff):
        return [Fraction(price.price_minor_per_segment) * Fraction(price.fx_rate)]
    raise TypeError(f"{type(price).__name__} is no price")
