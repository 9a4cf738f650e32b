"""An alert, the alarm behind it, and what became of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AlertLevel(StrEnum):
    """How soon somebody should look: at leisure, today, now, or now even at night."""

    INFO = "info"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that people should know. It is sent once for each `key`, for ever.

    `text` says what happened and what to do. `facts` are names and values for a table. Where to
    look is a `workflow_id`, or a `view`, which is a list filter of Temporal's. Nothing personal
    belongs in any of it, for it goes to Slack.
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
    """The kinds of alarms that are raised and cleared. An alarm's name begins with its kind."""

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
    CARDS = "cards"
    AUDIT = "audit"
    WATCH = "watch"

    def of(self, what: str) -> str:
        """Return the name of the alarm of this kind that is about one thing."""
        return f"{self}:{what}"


@dataclass(frozen=True, slots=True)
class Crossing:
    """An alarm that is to be raised or cleared, and the alert to send if that is news.

    To raise an alarm is news if it was not raised, or if `depth` is more than any since it was last
    raised. To clear an alarm is news if it was raised.
    """

    alarm: str
    raised: bool
    alert: Alert
    depth: int = 1


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert and where it stands: it waits while it has neither `delivered_at` nor `problem`.

    With a `problem` and no `delivered_at` it was given up. With both it went to the log instead.
    """

    position: int
    alert: Alert
    raised_at: datetime
    delivered_at: datetime | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class AlertDelivery:
    """What became of a batch of alerts. There may be `more` to deliver."""

    delivered: int
    given_up: int
    more: bool
