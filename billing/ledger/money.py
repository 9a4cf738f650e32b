"""Money: an integer number of minor units, and their currency. It is never a float."""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from billing.errors import CurrencyMismatch

# What costs more has a wrong price. It is far more than anybody can pay, and so little of what a
# bigint holds that thousands of them fit into a sum.
LARGEST_MINOR = 10**15


class Currency(StrEnum):
    """ISO 4217 codes, in lower case as Stripe writes them. All have 100 minor units."""

    GBP = "gbp"
    USD = "usd"


@dataclass(frozen=True, slots=True)
class Money:
    """An amount: `amount_minor` pence or cents (negative for debt) of `currency`."""

    amount_minor: int
    currency: Currency

    def __add__(self, other: "Money") -> "Money":
        """Add; raise CurrencyMismatch for two currencies."""
        if other.currency is not self.currency:
            raise CurrencyMismatch(f"cannot add {other.currency} to {self.currency}")
        return Money(self.amount_minor + other.amount_minor, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount_minor, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        """Subtract; raise CurrencyMismatch for two currencies."""
        return self + -other

    def __str__(self) -> str:
        sign = "-" if self.amount_minor < 0 else ""
        major, minor = divmod(abs(self.amount_minor), 100)
        return f"{sign}{major}.{minor:02d} {self.currency.upper()}"


def round_up(exact: Fraction) -> int:
    """Round to whole minor units, up: the one rounding of what is charged."""
    return -(-exact.numerator // exact.denominator)
