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

    `text` says what happened and what to do, `facts` are names and values for a table, and
    `workflow_id` is where to look. Nothing personal belongs in any of it: it leaves the house.
    """

    key: str
    level: AlertLevel
    title: str
    text: str
    org_id: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    workflow_id: str | None = None


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
