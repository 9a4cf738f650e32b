"""What is parked and what people have decided about it: read, and shown to a person."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.temporal.search_attributes import BILLING_STATE, BillingState
from billing.ledger.money import Money
from billing.parking.parked_work import DecisionRecord, ParkedFilter, ParkedTotal, ParkedWork
from cli.output import Screen
from processes import parked
from processes.request import temporal_answers
from settings import Settings
from store import parking
from wiring import connect_database, connect_temporal

# Nobody decides more often about one process, and remembers it.
_MOST_DECISIONS = 100
_FAREWELL_SECONDS = 0.3
# A row is a line, also where a terminal has to wrap it: a list is read down its columns.
_NARROWEST, _WIDEST = 140, 200
_NOTHING = "Nothing that fits is parked."
_SPANS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))


@dataclass(frozen=True, slots=True)
class Listed:
    """Some of what is parked and fits, and the sums of all that does."""

    items: tuple[ParkedWork, ...]
    totals: tuple[ParkedTotal, ...]

    @property
    def count(self) -> int:
        """How much there is in all."""
        return sum(one.count for one in self.totals)


@dataclass(frozen=True, slots=True)
class Found:
    """One process: parked or not, and what people have decided about it, oldest first."""

    workflow_id: str
    state: str
    work: ParkedWork | None
    decisions: tuple[DecisionRecord, ...]


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[Client, AsyncEngine]]:
    """Open both; a Temporal that is away is found out by the first question."""
    engine = connect_database(settings, "parked")
    try:
        yield await connect_temporal(settings, lazy=True), engine
    finally:
        await engine.dispose()
        # A client that goes away in the same breath can crash the interpreter's exit.
        await asyncio.sleep(_FAREWELL_SECONDS)


async def read_list(temporal: Client, which: ParkedFilter, limit: int) -> Listed:
    """List up to `limit`, and sum up all. Raise TemporalUnavailable."""
    page = await parked.list_parked(temporal, which, limit, None)
    return Listed(page.items, await parked.sum_up(temporal, which))


async def read_one(temporal: Client, engine: AsyncEngine, workflow_id: str) -> Found:
    """Read everything about one.

    Raise NotFound, TemporalUnavailable, and what means that the database is gone.
    """
    work = await parked.find(temporal, workflow_id)
    state = BillingState.PARKED if work else await _state_of(temporal, workflow_id)
    async with engine.connect() as connection:
        newest = await parking.page(connection, None, _MOST_DECISIONS, workflow_id=workflow_id)
    return Found(workflow_id, state, work, tuple(reversed(newest)))


async def _state_of(temporal: Client, workflow_id: str) -> str:
    """Return how one stands that is not parked: `settled (completed)`, `parked (terminated)`."""
    with temporal_answers("so nothing was read"):
        found = await temporal.get_workflow_handle(workflow_id).describe()
    state = found.typed_search_attributes.get(BILLING_STATE) or found.workflow_type
    return f"{state} ({found.status.name.lower()})" if found.status else state


def show_list(listed: Listed, now: datetime) -> None:
    """Print parked work, and what it comes to by reason."""
    console = _console()
    if not listed.totals:
        console.print(_NOTHING)
        return
    console.width = max(console.width, _NARROWEST) if console.is_terminal else _WIDEST
    console.print(_work(listed.items, now), soft_wrap=True)
    if listed.count > len(listed.items):
        console.print(f"{len(listed.items):,} of {listed.count:,} are shown; --limit shows more.\n")
    console.print(totals(listed.totals, now))


def show_totals(sums: Sequence[ParkedTotal], now: datetime) -> None:
    """Print what parked work comes to by reason."""
    _console().print(totals(sums, now) if sums else _NOTHING)


def show_one(found: Found, ui: str | None, now: datetime) -> None:
    """Print everything that is known of one."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_state(found, now), *_course(found, ui)):
        table.add_row(name, value)
    _console().print(table)


def totals(sums: Sequence[ParkedTotal], now: datetime) -> Table:
    """Lay out what waits for which reason, and all of it."""
    table = _table("reason", "parked", "money at risk", "longest for")
    for one in sums:
        oldest = _age(now - one.oldest_since)
        table.add_row(one.reason, f"{one.count:,}", _moneys(one.at_risk, "\n"), oldest)
    if len(sums) > 1:
        oldest = _age(now - min(one.oldest_since for one in sums))
        count = sum(one.count for one in sums)
        table.add_section()
        table.add_row("total", f"{count:,}", _moneys(at_risk(sums), "\n"), oldest)
    return table


def at_risk(sums: Sequence[ParkedTotal]) -> tuple[Money, ...]:
    """Add up the money of all reasons, by currency."""
    added = dict[str, Money]()
    for money in (money for one in sums for money in one.at_risk):
        before = added.get(money.currency)
        added[money.currency] = before + money if before else money
    return tuple(added[currency] for currency in sorted(added))


def summary(sums: Sequence[ParkedTotal]) -> str:
    """Say in a few words how much it is."""
    count = sum(one.count for one in sums)
    return f"{count:,} parked, {_moneys(at_risk(sums), ' and ')} at risk"


def _console() -> Console:
    """Write what people have written as it is."""
    return Screen(highlight=False, markup=False, emoji=False)


def _work(items: Sequence[ParkedWork], now: datetime) -> Table:
    table = _table("workflow", "organisation", "reason", "since", "for", "at risk")
    table.expand = True
    for column in table.columns:
        column.no_wrap = True
    table.add_column("what happened", no_wrap=True, overflow="ellipsis", ratio=1, min_width=20)
    for one in items:
        parked = one.parked
        table.add_row(
            *(one.workflow_id, parked.org_id or "-", parked.reason, _time(one.since)),
            *(_age(now - one.since), str(parked.at_risk or "-"), _plain(parked.happened)),
        )
    return table


def _state(found: Found, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield how it stands, and what can be done."""
    work = found.work
    if work is None:
        yield "workflow", found.workflow_id
        yield "state", f"{found.state}: it is not parked"
        return
    parked = work.parked
    yield "workflow", f"{found.workflow_id} ({work.process})"
    yield "parked", f"{parked.reason}, since {_time(work.since)}, for {_age(now - work.since)}"
    if parked.until is not None:
        yield "until", _time(parked.until)
    yield "organisation", parked.org_id or "unknown"
    yield "money at risk", str(parked.at_risk or "unknown")
    yield "what happened", _plain(parked.happened)
    yield "what to do", _plain(parked.advice)
    for verdict in parked.signals:
        yield f"to {verdict}", _command(verdict, found.workflow_id)


def _course(found: Found, ui: str | None) -> Iterator[tuple[str, str]]:
    """Yield what people have decided so far, and where to look."""
    for record in found.decisions:
        yield _time(record.decided_at), _decision(record)
    yield (
        "page",
        f"{ui}/{quote(found.workflow_id, safe='')}" if ui else "TEMPORAL_UI_URL is not set",
    )


def _decision(record: DecisionRecord) -> str:
    when = f" (parked: {record.reason})" if record.reason else " (not parked)"
    return f"{record.verdict}, {record.who_and_why}{when}"


def _command(verdict: str, workflow_id: str) -> str:
    """Return what to type: an approval is asked for with a key, and not here."""
    if verdict in ("approve", "reject"):
        adjustment_id = workflow_id.removeprefix("adjustment/")
        return f"POST /v1/adjustments/{adjustment_id}/{verdict}, with another operator's key"
    return f"callwallet parked {verdict} {shlex.quote(workflow_id)} --note WHY"


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    for heading in headings:
        is_figure = heading in ("parked", "money at risk", "at risk", "for", "longest for")
        justify: Literal["left", "right"] = "right" if is_figure else "left"
        table.add_column(heading, overflow="fold", no_wrap=heading == "workflow", justify=justify)
    return table


def _moneys(amounts: Sequence[Money], joined: str) -> str:
    return joined.join(map(str, amounts)) or "0"


def _plain(markdown: str) -> str:
    """Take the Markdown of the Temporal UI out of a sentence."""
    return re.sub(r"[`*]", "", markdown)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _age(span: timedelta) -> str:
    """Return how long, in the two largest units: `3 d 4 h`, `2 h 5 min`, `40 s`."""
    said, span = list[str](), max(span, timedelta(0))
    for name, unit in _SPANS:
        count, span = divmod(span, unit)
        if count or said:
            said.append(f"{count} {name}")
    return " ".join(said[:2]) or f"{span.seconds} s"
