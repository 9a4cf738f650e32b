"""Prices have effective dates: which one counts at a moment, and what a call costs by it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import ClassVar, Protocol, TypeVar

from billing.errors import NoTariff
from billing.ledger.money import LARGEST_MINOR, Currency, Money, round_up

SECONDS_PER_MINUTE = 60


class Priced(Protocol):
    """A price of any kind, which counts until another takes over."""

    @property
    def org_id(self) -> str | None:
        """Whose it is; None for a default of all wallets in its currency."""

    @property
    def wallet_currency(self) -> Currency:
        """What the wallets are in that it is for."""

    @property
    def effective_from(self) -> datetime:
        """When it begins."""

    @property
    def prefix(self) -> str:
        """How the destinations begin that it is for; empty: it is for all."""

    @property
    def channel(self) -> str:
        """What the messages go over that it is for; empty: it is for calls."""


Price = TypeVar("Price", bound=Priced)


@dataclass(frozen=True, slots=True)
class Tariff:
    """A rate from `effective_from` on. A tariff that was used never changes; a new one follows it.

    `rate_minor_per_minute` is in `currency`; `fx_rate` turns that into `wallet_currency`.
    `org_id` is None for the default tariff of a wallet currency.
    """

    # It is for calls to and from anywhere.
    prefix: ClassVar[str] = ""
    channel: ClassVar[str] = ""

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
    Raise NoTariff if it comes to more than anything can cost.
    """
    seconds = _billed_seconds(tariff, duration_seconds)
    exact = Fraction(tariff.rate_minor_per_minute) * seconds / SECONDS_PER_MINUTE
    rated_minor = max(round_up(exact), tariff.minimum_minor) if seconds else 0
    wallet_minor = round_up(Fraction(tariff.fx_rate) * rated_minor)
    require_plausible(tariff.tariff_id, rated_minor, wallet_minor)
    return Charge(
        amount=Money(wallet_minor, tariff.wallet_currency),
        rated=Money(rated_minor, tariff.currency),
        billed_seconds=seconds,
        tariff_id=tariff.tariff_id,
    )


def require_plausible(tariff_id: str, *amounts_minor: int) -> None:
    """Raise NoTariff if a tariff comes to more than anything can cost: it is no tariff to go by."""
    if max(amounts_minor) > LARGEST_MINOR:
        raise NoTariff(f"by {tariff_id} it would cost more than anything can")


def longest_call(tariff: Tariff, spendable: Money, at_most_seconds: int) -> int:
    """Return how many whole seconds a call may last and cost no more than `spendable`.

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

    Raise NoTariff when none was in effect.
    """
    found = in_effect(tariffs, org_id, wallet_currency, moment)
    if found is None:
        raise NoTariff(f"no {wallet_currency} tariff for {org_id} at {moment.isoformat()}")
    return found


def in_effect(
    prices: Iterable[Price],
    org_id: str,
    wallet_currency: Currency,
    moment: datetime,
    destination: str = "",
) -> Price | None:
    """Choose the price that counts for an organisation at `moment`; None when there is none.

    Its own before the defaults, then the one of the longest prefix, then the newest.
    """
    candidates = (
        price
        for price in prices
        if price.wallet_currency is wallet_currency
        and price.org_id in (org_id, None)
        and destination.startswith(price.prefix)
        and price.effective_from <= moment
    )
    return max(
        candidates,
        key=lambda price: (price.org_id is not None, len(price.prefix), price.effective_from),
        default=None,
    )


def overtaken(new: Price, others: Iterable[Price], now: datetime) -> Price | None:
    """Find a price instead of which `new` would be that of something that was before `now`.

    That may be charged by now. None when there is none, as when nothing was in effect then. Look
    at the destinations that begin with its prefix, and at those for which there are longer ones.
    """
    competing = [
        one for one in others if one.org_id in (new.org_id, None) and one.channel == new.channel
    ]
    starts = {new.effective_from, *(one.effective_from for one in competing)}
    longer = {one.prefix for one in competing if one.prefix.startswith(new.prefix)}
    whose = (new.org_id or "", new.wallet_currency)
    for moment in sorted(one for one in starts if new.effective_from <= one < now):
        for destination in sorted({new.prefix} | longer):
            before = in_effect(competing, *whose, moment, destination)
            after = in_effect([*competing, new], *whose, moment, destination)
            if before is not None and after == new:
                return before
    return None


def _billed_seconds(tariff: Tariff, duration_seconds: Decimal) -> int:
    increments = (duration_seconds / tariff.increment_seconds).to_integral_value(ROUND_CEILING)
    return int(increments) * tariff.increment_seconds
