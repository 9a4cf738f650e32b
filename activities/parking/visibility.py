"""What Temporal knows about processes: which are parked, and whose code fails.

Its lists and counts lag behind by a moment, so nothing about money may be decided by them.
"""

import base64
import binascii
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime

from temporalio import activity
from temporalio.client import Client, WorkflowExecution

from activities.temporal.search_attributes import (
    BILLING_STATE,
    ORG_ID,
    PARK_REASON,
    PARKED_SINCE,
    BillingState,
)
from billing.ledger.money import Currency, Money
from billing.parking.parked import Parked
from billing.parking.parked_work import ParkedFilter, ParkedNote, ParkedTotal, ParkedWork

PARKED_MEMO = "parked"
# The most that Temporal gives at once.
_LARGEST_PAGE = 1000
_MARK_BYTES = 6
_PARKED = f"ExecutionStatus = 'Running' AND {BILLING_STATE.name} = '{BillingState.PARKED}'"
_PROBLEMS = "ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL"
_UNEXPLAINED = "Its page in the Temporal UI tells; it has parked under an older version."


@dataclass(frozen=True, slots=True)
class ParkedPage:
    """A page of what is parked. Without a token it is the last, and with one it may be, too."""

    items: tuple[ParkedWork, ...]
    next_page_token: bytes | None


@dataclass(frozen=True, slots=True)
class Problems:
    """How many processes wait because their code fails, and the ids of some."""

    count: int
    workflow_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParkedQuestion:
    """Which parked work is to be named, from where on, and how many at most."""

    which: ParkedFilter
    limit: int
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class ParkedNames:
    """The ids of some parked workflows. Without a cursor there are no more."""

    workflow_ids: tuple[str, ...]
    cursor: str | None


class Visibility:
    """Lists and counts from Temporal's visibility store."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal

    async def parked(
        self, which: ParkedFilter, limit: int, page_token: bytes | None = None
    ) -> ParkedPage:
        """List parked work, the youngest workflows first, by one request a page; raise RPCError."""
        pages = self._temporal.list_workflows(
            query_for(which), page_size=min(limit, _LARGEST_PAGE), next_page_token=page_token
        )
        await pages.fetch_next_page()
        items = [await parked_work(one) for one in pages.current_page or ()]
        return ParkedPage(tuple(items), pages.next_page_token)

    async def totals(self, which: ParkedFilter) -> tuple[ParkedTotal, ...]:
        """Sum up parked work by reason, sorted by name. This reads all of it, page by page."""
        sums = defaultdict[str, Counter[Currency]](Counter)
        counts = Counter[str]()
        oldest = dict[str, datetime]()
        async for work in self._all_parked(which):
            reason = work.parked.reason
            counts[reason] += 1
            oldest[reason] = min(work.since, oldest.get(reason, work.since))
            if work.parked.at_risk is not None:
                sums[reason][work.parked.at_risk.currency] += work.parked.at_risk.amount_minor
        return tuple(
            ParkedTotal(reason, counts[reason], _moneys(sums[reason]), oldest[reason])
            for reason in sorted(counts)
        )

    async def count(self, which: ParkedFilter) -> int:
        """Count parked work, by one request."""
        return (await self._temporal.count_workflows(query_for(which))).count

    @activity.defn
    async def name_parked(self, question: ParkedQuestion) -> ParkedNames:
        """Return a page of the ids of parked work.

        A page ends at a workflow, and not at a number of workflows. So no workflow is passed over
        when others leave the list between two pages.
        """
        token = token_of(question.cursor) if question.cursor else None
        page = await self.parked(question.which, question.limit, token)
        return ParkedNames(
            tuple(one.workflow_id for one in page.items), cursor_of(page.next_page_token)
        )

    @activity.defn
    async def count_parked(self, which: ParkedFilter) -> int:
        """Count parked work, for a workflow that decides about it."""
        return await self.count(which)

    async def running(self, workflow_ids: Collection[str]) -> set[str]:
        """Return those of these processes that run; ask about a hundred or so at once."""
        named = ", ".join(quoted(one) for one in workflow_ids)
        query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({named})"
        return {one.id async for one in self._temporal.list_workflows(query)}

    async def problems(self, limit: int) -> Problems:
        """Count the processes whose code fails again and again, and name up to `limit`."""
        count = (await self._temporal.count_workflows(_PROBLEMS)).count
        listed = self._temporal.list_workflows(_PROBLEMS, page_size=limit, limit=limit)
        return Problems(count, tuple([one.id async for one in listed]))

    async def _all_parked(self, which: ParkedFilter) -> AsyncIterator[ParkedWork]:
        listed = self._temporal.list_workflows(query_for(which), page_size=_LARGEST_PAGE)
        async for one in listed:
            yield await parked_work(one)


def query_for(which: ParkedFilter) -> str:
    """Return Temporal's list filter for this. What was asked for is quoted, and stays a value."""
    wanted = [_PARKED]
    if which.org_id is not None:
        wanted.append(f"{ORG_ID.name} = {quoted(which.org_id)}")
    if which.reason is not None:
        wanted.append(f"{PARK_REASON.name} = {quoted(which.reason)}")
    if which.process is not None:
        wanted.append(f"WorkflowType = {quoted(which.process)}")
    if which.parked_before is not None:
        before = quoted(which.parked_before.isoformat())
        since = PARKED_SINCE.name
        wanted.append(f"({since} < {before} OR ({since} IS NULL AND StartTime < {before}))")
    return " AND ".join(wanted)


def quoted(value: str) -> str:
    """Return a value quoted for a list filter, so that it cannot end early.

    A value with a backslash or a double quote stays a value, but Temporal on SQLite finds nothing
    by it.
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def cursor_of(page_token: bytes | None) -> str | None:
    """Return Temporal's page token as text for a URL, with a mark by which `token_of` knows it.

    Given a token that is not its own, Temporal would answer only after seconds, and not say why.
    """
    if not page_token:
        return None
    return base64.urlsafe_b64encode(_mark(page_token) + page_token).decode()


def token_of(cursor: str) -> bytes:
    """Return the page token in a cursor; raise ValueError if it has none of ours."""
    try:
        read = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("the cursor is not one that was given out") from error
    mark, page_token = read[:_MARK_BYTES], read[_MARK_BYTES:]
    if not page_token or mark != _mark(page_token):
        raise ValueError("the cursor is not one that was given out")
    return page_token


def _mark(page_token: bytes) -> bytes:
    return hashlib.sha256(page_token).digest()[:_MARK_BYTES]


async def parked_work(found: WorkflowExecution) -> ParkedWork:
    """Read what a parked workflow says about itself in its memo, if anybody can read that."""
    note = await _note(found)
    return ParkedWork(
        workflow_id=found.id,
        run_id=found.run_id,
        process=found.workflow_type,
        parked=note.parked if note else _unexplained(found),
        since=note.since if note else _since(found),
    )


async def _note(found: WorkflowExecution) -> ParkedNote | None:
    """Read a memo. One of another version, or of another program, stops no list."""
    try:
        return await found.memo_value(PARKED_MEMO, None, type_hint=ParkedNote)
    except (ValueError, LookupError):
        return None


def _unexplained(found: WorkflowExecution) -> Parked:
    shown = found.typed_search_attributes
    return Parked(shown.get(PARK_REASON) or "unknown", _UNEXPLAINED, shown.get(ORG_ID))


def _since(found: WorkflowExecution) -> datetime:
    return found.typed_search_attributes.get(PARKED_SINCE) or found.start_time


def _moneys(sums: Counter[Currency]) -> tuple[Money, ...]:
    return tuple(Money(sums[currency], currency) for currency in sorted(sums))
