"""Parked work as operators see it from outside: listed, counted, decided about."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.money import Money
from billing.parking import Parked

LONGEST_SAID = 1000


class Verdict(StrEnum):
    """What a person can decide about parked work of any kind."""

    REPROCESS = "reprocess"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class ParkedFilter:
    """Which parked work is meant: all that fits everything that is given.

    `process` is a workflow type (`BillCall`, `SettlePayment`, …); `parked_before` is how age is
    told.
    """

    org_id: str | None = None
    reason: str | None = None
    process: str | None = None
    parked_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class ParkedNote:
    """What a parked workflow says of itself, for lists: why it waits, and since when."""

    parked: Parked
    since: datetime


@dataclass(frozen=True, slots=True)
class ParkedWork:
    """A workflow that waits: which, why, since when, and what is at stake."""

    workflow_id: str
    run_id: str
    process: str
    parked: Parked
    since: datetime


@dataclass(frozen=True, slots=True)
class ParkedTotal:
    """What waits for one reason: how much work, the money at risk by currency, and since when."""

    reason: str
    count: int
    at_risk: tuple[Money, ...]
    oldest_since: datetime


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What a person has said about a workflow: who and why in their own words, and in what state.

    `reason` is why it was parked when they said so; None if it was not. `number` counts what was
    said in one run of it, from 1; `position` is its place among all that were recorded.
    """

    workflow_id: str
    run_id: str
    number: int
    verdict: Verdict
    who_and_why: str
    org_id: str | None
    reason: str | None
    decided_at: datetime
    position: int = 0


def said(text: str) -> str:
    """Cut down to what can be recorded what a person has said: PostgreSQL takes no NUL."""
    return text.replace("\x00", "").strip()[:LONGEST_SAID]
