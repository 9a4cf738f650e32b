"""What people are told without having asked: an alert, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AlertLevel(StrEnum):
    """How soon somebody should look: at leisure, today, now, and now whoever is asleep."""

    INFO = "info"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that people should know. It is told once for each `key`, for ever.

    `text` says what happened and what to do, and `facts` are names and values for a table. Where
    to look is a `workflow_id`, or a `view`: a list of workflows, as Temporal is asked for it.
    Nothing personal belongs in any of it: it leaves the house.
    """

    key: str
    level: AlertLevel
    title: str
    text: str
    org_id: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    workflow_id: str | None = None
    view: str | None = None


class AlarmKind(StrEnum):
    """Everything that can be raised, told of, and be over. An alarm's name begins with its kind."""

    RATE = "rate"
    INBOX = "inbox"
    PARKED_MONEY = "parked-money"
    PARKED = "parked"
    PROBLEMS = "problems"
    BALANCE = "balance"
    RECONCILIATION_FAILED = "reconciliation-failed"
    RECONCILIATION_OVERDUE = "reconciliation-overdue"
    RELIABILITY = "reliability"
    ORPHANS = "orphans"
    AUDIT = "audit"
    WATCH = "watch"

    def of(self, what: str) -> str:
        """Name the alarm of this kind that is about one thing."""
        return f"{self}:{what}"


@dataclass(frozen=True, slots=True)
class Crossing:
    """An alarm that is to be raised or cleared, and what is told if that is news.

    It is news when an alarm is raised that was not, or `depth` is more than any that was told since
    it was last raised; and when an alarm is cleared that was raised.
    """

    alarm: str
    raised: bool
    alert: Alert
    depth: int = 1


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert and where it stands: it waits while it has neither `delivered_at` nor `problem`.

    With a `problem` and no `delivered_at` it was given up; with both it went elsewhere.
    """

    position: int
    alert: Alert
    raised_at: datetime
    delivered_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a batch of alerts; there may be `more`."""

    delivered: int
    given_up: int
    more: bool
