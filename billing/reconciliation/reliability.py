"""How well webhooks arrive: of what a provider has, the share that a webhook told of."""

from dataclasses import dataclass
from decimal import Decimal

ALERT_BELOW_PERCENT = 95


@dataclass(frozen=True, slots=True)
class Day:
    """One day (UTC, `YYYY-MM-DD`): how many calls or payments there were, and how many were missed.

    `reliability_percent` is the share that was heard of by webhook, rounded down to two places.
    """

    day: str
    checked: int
    missing: int
    reliability_percent: Decimal


def reliability(checked: int, missing: int) -> Decimal:
    """Return how many percent arrived, rounded down to two places: 95.00 is never less than 95."""
    hundredths = (checked - missing) * 100 * 100 // checked if checked else 100 * 100
    return Decimal(hundredths).scaleb(-2)


def is_low(checked: int, missing: int) -> bool:
    """Return whether strictly less than 95 % arrived; exactly 95 % is good enough."""
    return (checked - missing) * 100 < ALERT_BELOW_PERCENT * checked
