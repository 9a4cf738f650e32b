"""How well billing goes: the shares that were delivered, processed and billed, and what waits."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from billing.inbox.webhook_event import Source
from billing.parking.parked_work import ParkedTotal
from billing.recharges.attempt import AttemptState
from billing.reconciliation.reconciliation import RunStatus
from billing.reconciliation.reliability import reliability

QUARTER = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
WINDOWS = {"15m": QUARTER, "1h": HOUR, "24h": DAY}
# The reliability of webhooks is measured over this many days, today included.
RELIABILITY_DAYS = 7
# What arrived this recently is still under way. It counts neither as good nor as bad.
GRACE = timedelta(seconds=60)


class RateName(StrEnum):
    """The three things that can go wrong between a call and its charge."""

    DELIVERY = "delivery"
    PROCESSING = "processing"
    BILLING = "billing"


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of how many went well; of nothing, everything did.

    `percent` is the share, rounded down to two places: it follows from the others, and is a field
    so that answers have it.
    """

    good: int
    total: int
    percent: Decimal = Decimal(100)

    def __post_init__(self) -> None:
        percent = reliability(self.total, self.total - self.good)
        object.__setattr__(self, "percent", percent)


@dataclass(frozen=True, slots=True)
class Rates:
    """One window's three rates.

    `delivery`: of the calls that ended, those whose report came by webhook (the others were found
    by a sweep or by reconciliation). `processing`: of the webhooks received that had work in them,
    those that are in the ledger or in a workflow that waits. `billing`: of the calls that ended,
    those that are charged; what waits for the customer's money is not our failure, and what a
    person gave up is nobody's. `unowned` of them are of assistants that nobody has registered.
    """

    delivery: Rate
    processing: Rate
    billing: Rate
    unowned: int = 0


# The rates of each window, by its name in `WINDOWS`.
RatesByWindow = Mapping[str, Rates]


@dataclass(frozen=True, slots=True)
class OrganizationRates:
    """How well it goes for one organisation."""

    org_id: str
    rates: RatesByWindow

    @property
    def worst_first(self) -> tuple[Decimal, int, str]:
        """The sort key: the lowest billing rate of the day first, then the busier organisation."""
        day = self.rates["24h"].billing
        return day.percent, -day.total, self.org_id


@dataclass(frozen=True, slots=True)
class InboxFigures:
    """Webhooks of one sender that wait, and how long the one that is due longest has been due."""

    source: Source
    waiting: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class ReconciliationFigures:
    """Where the reconciliation with one provider stands.

    `last_success_at` is when a daily run succeeded, None before the first; `reliability_percent`
    what the last seven days come to, None if no run has looked at any of them. The last run is
    whichever began last, by hand or daily.
    """

    source: Source
    last_success_at: datetime | None
    reliability_percent: Decimal | None
    last_run_id: str | None
    last_run_status: RunStatus | None


@dataclass(frozen=True, slots=True)
class AuditFigures:
    """The last audit that finished: when, what it looked at, how many rows did not agree."""

    finished_at: datetime
    wallets: int
    entries: int
    flaws: int


@dataclass(frozen=True, slots=True)
class AlertFigures:
    """Alerts that nobody has been told of: those that wait, and those given up in the last day."""

    waiting: int
    oldest_seconds: float
    given_up: int


@dataclass(frozen=True, slots=True)
class Figures:
    """How well it goes, as of one moment.

    `organizations` are those with a call or a webhook in the last day, the worst first; `recharges`
    how many attempts of the last day are in each state. `parked` is for Temporal to say, and None
    if it was not asked or does not answer; `notes` tell what is not known.
    """

    as_of: datetime
    rates: RatesByWindow
    organizations: tuple[OrganizationRates, ...]
    inbox: tuple[InboxFigures, ...]
    recharges: Mapping[AttemptState, int]
    reconciliations: tuple[ReconciliationFigures, ...]
    audit: AuditFigures | None
    alerts: AlertFigures
    parked: tuple[ParkedTotal, ...] | None = None
    notes: tuple[str, ...] = ()
