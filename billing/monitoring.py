"""How well it goes: the share that was delivered, processed and billed, over the last while."""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from billing.reliability import reliability

QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
WINDOWS = (QUARTER, HOUR, DAY)
# What has just arrived is under way, and neither good nor bad yet.
GRACE = timedelta(seconds=60)


class RateName(StrEnum):
    """The three things that can go wrong between a call and its charge."""

    DELIVERY = "delivery"
    PROCESSING = "processing"
    BILLING = "billing"


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of how many went well; of nothing, everything did."""

    good: int
    total: int

    @property
    def percent(self) -> Decimal:
        """The share in percent, rounded down to two places."""
        return reliability(self.total, self.total - self.good)


@dataclass(frozen=True, slots=True)
class Rates:
    """One window's three rates.

    `delivery`: of the calls that ended, those whose report came by webhook (the others were found
    by a sweep or by reconciliation). `processing`: of the webhooks received that had work in them,
    those that are in the ledger or in a workflow that waits. `billing`: of the calls that ended,
    those that are charged; what waits for the customer's money is not our failure, and what a
    person gave up is nobody's.
    """

    delivery: Rate
    processing: Rate
    billing: Rate
