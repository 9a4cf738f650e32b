"""Reconciliation: its runs, what they find, and what that comes to."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import StrEnum

from billing.calls.call import EndedCall
from billing.calls.facts import for_organization
from billing.errors import InvalidWindow
from billing.inbox.webhook_event import Source
from billing.ledger.money import Currency, Money
from billing.reconciliation.given_up import without_who
from billing.reconciliation.reliability import is_low, reliability

# What ended or was paid this recently may still be on its way, and is left alone.
GRACE = timedelta(minutes=10)
# A run begins this long before the end of the last success. Providers list things by when they were
# created, and what was still going on then is looked at again: a call can take hours, and a bank
# debit may succeed two weeks later.
LOOK_BACK = {Source.VAPI: timedelta(hours=48), Source.STRIPE: timedelta(days=14)}
LONGEST_WINDOW = timedelta(days=366)
OVERDUE_AFTER = timedelta(hours=26)
_DAYS_A_MONTH, _DAYS_A_YEAR = 30, 365


@dataclass(frozen=True, slots=True)
class Window:
    """The time that a run looks at: when payments were created, and calls created or used."""

    since: datetime
    until: datetime


class RunStep(StrEnum):
    """How far a run has come."""

    COMPARING = "comparing"
    RECOVERING = "recovering"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run goes on: after so many `pages`, `below` a place in the provider's list.

    `seen` are the ids at that place that were compared already, for Vapi lists them again.
    """

    step: RunStep = RunStep.COMPARING
    pages: int = 0
    below: str | None = None
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """What is to be reconciled. Without a window: all since `LOOK_BACK` before the last success.

    A `dry_run` reports and changes nothing. `progress` is that of a run that has continued as new.
    """

    source: Source
    since: datetime | None = None
    until: datetime | None = None
    org_id: str | None = None
    dry_run: bool = False
    progress: Progress = Progress()

    @property
    def is_daily(self) -> bool:
        """Whether it looks at everything there is, so that the next one may begin where it ends."""
        return self.since is None and self.until is None and self.org_id is None


class RunStatus(StrEnum):
    """Where a run stands. One that is parked goes on by itself, or when it is told to."""

    RUNNING = "running"
    PARKED = "parked"
    SUCCEEDED = "succeeded"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class Run:
    """One reconciliation. It has compared `pages` of the provider's list, down to `reached`."""

    run_id: str
    source: Source
    workflow_id: str
    window: Window
    started_at: datetime
    org_id: str | None = None
    dry_run: bool = False
    daily: bool = False
    status: RunStatus = RunStatus.RUNNING
    finished_at: datetime | None = None
    pages: int = 0
    reached: datetime | None = None
    problem: str = ""
    position: int = 0

    def for_organization(self) -> "Run":
        """Return what an organisation is shown of it: not who has given it up, and why."""
        return replace(self, problem=without_who(self.problem))

    @property
    def progress(self) -> Decimal:
        """How much of the window is compared, from 0 to 1. The lists go from new to old."""
        if self.finished_at is not None or self.reached is None:
            return Decimal(int(self.finished_at is not None))
        whole = self.window.until - self.window.since
        done = self.window.until - max(self.reached, self.window.since)
        return (Decimal(done / whole)).quantize(Decimal("0.001"), ROUND_DOWN)


class FindingKind(StrEnum):
    """In what a call or a payment differs from the ledger.

    `missing`: it was never heard of. `unbilled`: it is known, and its entry was never made.
    `drifted`: its entries are there, and say something else. `orphaned`: an entry is there, and the
    provider knows no reason for it.
    """

    MISSING = "missing"
    UNBILLED = "unbilled"
    DRIFTED = "drifted"
    ORPHANED = "orphaned"


class FindingOutcome(StrEnum):
    """What came of a finding. `open` ones are still to be put right; `waiting` ones are parked.

    `reported` ones are for a person: found in a dry run, or nothing that could be put right.
    """

    OPEN = "open"
    RECOVERED = "recovered"
    QUARANTINED = "quarantined"
    WAITING = "waiting"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference. `amount` is what the ledger lacks (negative: has too much), if that is known.

    `due` are the keys of the entries that put it right; `call` are the provider's facts.
    """

    subject: str
    kind: FindingKind
    occurred_at: datetime
    org_id: str | None = None
    amount: Money | None = None
    due: tuple[str, ...] = ()
    detail: str = ""
    call: EndedCall | None = None
    outcome: FindingOutcome = FindingOutcome.OPEN
    position: int = 0

    def for_organization(self) -> "Finding":
        """Return what an organisation is shown of it: not who has given a payment up, and why."""
        call = self.call and for_organization(self.call)
        return replace(self, call=call, detail=without_who(self.detail))


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run found, of one organisation or (None) of calls that belong to nobody yet.

    `reliability_percent` is the share of what the provider has that was heard of by webhook,
    rounded down to two places; 100 when there was nothing. Amounts are one a currency.
    """

    org_id: str | None
    checked: int = 0
    missing: int = 0
    unbilled: int = 0
    drifted: int = 0
    orphaned: int = 0
    recovered: int = 0
    quarantined: int = 0
    waiting: int = 0
    missing_amounts: tuple[Money, ...] = ()
    recovered_amounts: tuple[Money, ...] = ()
    reliability_percent: Decimal = Decimal("100.00")


@dataclass(frozen=True, slots=True)
class Impact:
    """What lost webhooks would cost without reconciliation, at the rate measured in this run."""

    missed_a_month: int
    money_a_month: tuple[Money, ...]
    money_a_year: tuple[Money, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A run, what it found in total and by organisation, and what that comes to.

    `progress` is how much of the window is compared, from 0 to 1.
    """

    run: Run
    progress: Decimal
    duration_seconds: Decimal
    total: Tally
    organizations: tuple[Tally, ...]
    impact: Impact


def window_of(wanted: Reconciliation, now: datetime, last_until: datetime | None) -> Window:
    """Return the window of a run; raise InvalidWindow for one that is empty or too long.

    It ends as asked for, and `GRACE` before now at the latest. It begins as asked for, or else
    `LOOK_BACK` before the end of the last success; without one, or if an end was asked for,
    `LOOK_BACK` before its own end.
    """
    latest = now - GRACE
    until = min(wanted.until or latest, latest)
    covered = min(until, last_until) if last_until and wanted.until is None else until
    longest = until - LONGEST_WINDOW
    since = wanted.since or max(covered - LOOK_BACK[wanted.source], longest)
    if not timedelta() < until - since <= LONGEST_WINDOW:
        raise InvalidWindow(
            f"the window from {since.isoformat()} to {until.isoformat()} must be longer than"
            f" nothing and no longer than {LONGEST_WINDOW.days} days; it ends"
            f" {GRACE.seconds // 60} minutes before now at the latest"
        )
    return Window(since, until)


def is_unreliable(tally: Tally) -> bool:
    """Return whether strictly less than 95 % arrived; exactly 95 % is good enough."""
    return is_low(tally.checked, tally.missing)


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies, money by currency."""
    tallies = list(tallies)
    checked = sum(one.checked for one in tallies)
    missing = sum(one.missing for one in tallies)
    return Tally(
        org_id=None,
        checked=checked,
        missing=missing,
        unbilled=sum(one.unbilled for one in tallies),
        drifted=sum(one.drifted for one in tallies),
        orphaned=sum(one.orphaned for one in tallies),
        recovered=sum(one.recovered for one in tallies),
        quarantined=sum(one.quarantined for one in tallies),
        waiting=sum(one.waiting for one in tallies),
        missing_amounts=_by_currency(money for one in tallies for money in one.missing_amounts),
        recovered_amounts=_by_currency(money for one in tallies for money in one.recovered_amounts),
        reliability_percent=reliability(checked, missing),
    )


def impact(whole: Tally, window: Window) -> Impact:
    """Extrapolate what was missed in the window to a month of 30 days and a year of 365."""

    def over(days: int, measured: int) -> int:
        share = Decimal(days * 86_400) / Decimal((window.until - window.since).total_seconds())
        return int((measured * share).to_integral_value(ROUND_HALF_UP))

    def money_over(days: int) -> tuple[Money, ...]:
        return tuple(
            Money(over(days, one.amount_minor), one.currency) for one in whole.missing_amounts
        )

    return Impact(
        missed_a_month=over(_DAYS_A_MONTH, whole.missing),
        money_a_month=money_over(_DAYS_A_MONTH),
        money_a_year=money_over(_DAYS_A_YEAR),
    )


def report(run: Run, tallies: Iterable[Tally], now: datetime) -> Report:
    """Return the report of a run; of one that has not finished, as it stands now."""
    organizations = tuple(tallies)
    whole = total(organizations)
    elapsed = (run.finished_at or now) - run.started_at
    return Report(
        run=run,
        progress=run.progress,
        duration_seconds=Decimal(elapsed.total_seconds()).quantize(Decimal("0.001")),
        total=whole,
        organizations=organizations,
        impact=impact(whole, run.window),
    )


def _by_currency(amounts: Iterable[Money]) -> tuple[Money, ...]:
    sums: dict[Currency, Money] = {}
    for money in amounts:
        sums[money.currency] = sums.get(money.currency, Money(0, money.currency)) + money
    return tuple(sums[currency] for currency in sorted(sums))
