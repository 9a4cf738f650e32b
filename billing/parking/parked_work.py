"""Parked work as operators see it from outside: listed, counted, decided about."""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from billing.adjustments import ApprovalVerdict
from billing.ledger.money import Money
from billing.parking.parked import Parked

LONGEST_SAID = 1000
_LONGEST_SAID_OF_MANY = 900
DEFAULT_PER_SECOND = 20
MOST_PER_SECOND = 200


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
    verdict: Verdict | ApprovalVerdict
    who_and_why: str
    org_id: str | None
    reason: str | None
    decided_at: datetime
    position: int = 0


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """How far a bulk decision is: how much it is about, what was told, and what had ended before.

    `matched` is an estimate until it is `done`: then all that was found was told, or was gone.
    """

    matched: int = 0
    told: int = 0
    gone: int = 0
    done: bool = False


@dataclass(frozen=True, slots=True)
class BulkDecision:
    """One verdict about all parked work that fits, and that parked before it `started_at`.

    `who_and_why` is in the words of the person; each workflow records it with the name of the bulk.
    The last three are known to itself: nobody who starts one has to give them.
    """

    bulk_id: str
    verdict: Verdict
    which: ParkedFilter
    who_and_why: str
    per_second: int = DEFAULT_PER_SECOND
    started_at: datetime | None = None
    cursor: str | None = None
    progress: BulkProgress = BulkProgress()

    @property
    def said(self) -> str:
        """What each workflow is told."""
        return f"{self.who_and_why[:_LONGEST_SAID_OF_MANY]} (bulk {self.bulk_id})"

    @property
    def about(self) -> ParkedFilter:
        """What it is about: nothing that has parked since it began."""
        limits = [one for one in (self.which.parked_before, self.started_at) if one is not None]
        return replace(self.which, parked_before=min(limits)) if limits else self.which

    @property
    def pace(self) -> int:
        """How many it tells in a second."""
        return min(max(self.per_second, 1), MOST_PER_SECOND)


def bulk_id(caller: str, idempotency_key: str) -> str:
    """Name the bulk decision that a caller asks for under a key: always the same."""
    return hashlib.sha256(f"{caller} {idempotency_key}".encode()).hexdigest()[:32]


def said(text: str) -> str:
    """Cut down to what can be recorded what a person has said: PostgreSQL takes no NUL."""
    return text.replace("\x00", "").strip()[:LONGEST_SAID]
