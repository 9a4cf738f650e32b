"""What a call costs: one table of rates with effective dates, and one exact calculation."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

from billing.errors import NoTariff
from billing.money import Currency, Money

SECONDS_PER_MINUTE = 60


@dataclass(frozen=True, slots=True)
class Tariff:
    """A rate from `effective_from` on. A tariff that was used never changes; a new one follows it.

    `rate_minor_per_minute` is in `currency`; `fx_rate` turns that into `wallet_currency`.
    `org_id` is None for the default tariff of a wallet currency.
    """

    tariff_id: str
    currency: Currency
    rate_minor_per_minute: Decimal
    increment_seconds: int
    minimum_minor: int
    fx_rate: Decimal
    wallet_currency: Currency
    effective_from: datetime
    org_id: str | None = None


@dataclass(frozen=True, slots=True)
class Charge:
    """A rated call: every figure that the amount was computed from."""

    amount: Money
    rated: Money
    billed_seconds: int
    tariff_id: str

    def explain(self) -> str:
        """Say the arithmetic in one line, for operators and invoices."""
        return (
            f"{self.billed_seconds} s = {self.rated}, charged as {self.amount} ({self.tariff_id})"
        )


def rate_call(tariff: Tariff, duration_seconds: Decimal) -> Charge:
    """Charge `duration_seconds` by the tariff: increments, rate and conversion, each rounded up.

    Exact arithmetic: with 70 cents a minute, cents = ceil(seconds / 60 * 70), and for a wallet in
    pounds pence = ceil(cents * 0.79). No time costs nothing; the minimum applies to any other call.
    """
    seconds = _billed_seconds(tariff, duration_seconds)
    exact = Fraction(tariff.rate_minor_per_minute) * seconds / SECONDS_PER_MINUTE
    rated_minor = max(_ceil(exact), tariff.minimum_minor) if seconds else 0
    wallet_minor = _ceil(Fraction(tariff.fx_rate) * rated_minor)
    return Charge(
        amount=Money(wallet_minor, tariff.wallet_currency),
        rated=Money(rated_minor, tariff.currency),
        billed_seconds=seconds,
        tariff_id=tariff.tariff_id,
    )


def longest_call(tariff: Tariff, spendable: Money, at_most_seconds: int) -> int:
    """Say how many whole seconds a call may last and cost no more than `spendable`.

    The inverse of `rate_call`: one second more costs more, or is more than `at_most_seconds`. 0
    when there is no money for any call. `spendable` is in the wallet's currency.
    """
    rated_minor = Fraction(spendable.amount_minor) // Fraction(tariff.fx_rate)
    if rated_minor < max(tariff.minimum_minor, 0):
        return 0
    if not tariff.rate_minor_per_minute:
        return at_most_seconds
    exact = Fraction(rated_minor * SECONDS_PER_MINUTE) / Fraction(tariff.rate_minor_per_minute)
    seconds = exact // tariff.increment_seconds * tariff.increment_seconds
    return min(seconds, at_most_seconds)


def tariff_at(
    tariffs: Iterable[Tariff], org_id: str, wallet_currency: Currency, moment: datetime
) -> Tariff:
    """Choose the newest tariff in effect at `moment`; the organisation's own before the default.

    Raises NoTariff when none was in effect.
    """
    candidates = [
        tariff
        for tariff in tariffs
        if tariff.wallet_currency is wallet_currency
        and tariff.org_id in (org_id, None)
        and tariff.effective_from <= moment
    ]
    if not candidates:
        raise NoTariff(f"no {wallet_currency} tariff for {org_id} at {moment.isoformat()}")
    return max(candidates, key=lambda tariff: (tariff.org_id is not None, tariff.effective_from))


def overtaken(new: Tariff, others: Iterable[Tariff], now: datetime) -> Tariff | None:
    """Find a tariff instead of which `new` would rate calls that took place before `now`.

    Those may be charged by now. None when there is none, as when nothing was in effect then.
    """
    competing = [one for one in others if one.org_id in (new.org_id, None)]
    starts = {new.effective_from, *(one.effective_from for one in competing)}
    for moment in sorted(one for one in starts if new.effective_from <= one < now):
        before = _at(competing, new, moment)
        if before is not None and _at([*competing, new], new, moment) == new:
            return before
    return None


def _at(tariffs: Iterable[Tariff], new: Tariff, moment: datetime) -> Tariff | None:
    try:
        return tariff_at(tariffs, new.org_id or "", new.wallet_currency, moment)
    except NoTariff:
        return None


def _billed_seconds(tariff: Tariff, duration_seconds: Decimal) -> int:
    increments = (duration_seconds / tariff.increment_seconds).to_integral_value(ROUND_CEILING)
    return int(increments) * tariff.increment_seconds


def _ceil(exact: Fraction) -> int:
    return -(-exact.numerator // exact.denominator)
