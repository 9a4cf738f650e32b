"""What a person sees of parked work: a table, what it comes to, and one with all there is."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.table import Table

from billing.money import Money
from billing.parked import DecisionRecord, ParkedTotal, ParkedWork
from cli.parked_reading import Found, Listed

# A row is a line, also where a terminal has to wrap it: a list is read down its columns.
_NARROWEST, _WIDEST = 140, 200
_NOTHING = "Nothing that fits is parked."
_SPANS = (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1)))


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
    return Console(highlight=False, markup=False, emoji=False)


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
    """Say how it stands, and what can be done."""
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
    """Say what people have decided so far, and where to look."""
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
    """Say what to type: an approval is asked for with a key, and not here."""
    if verdict in ("approve", "reject"):
        adjustment_id = workflow_id.removeprefix("adjustment/")
        return f"POST /v1/adjustments/{adjustment_id}/{verdict}, with another operator's key"
    return f"callwallet parked {verdict} {workflow_id} --note WHY"


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
    """Say how long, in the two largest units: `3 d 4 h`, `2 h 5 min`, `40 s`."""
    said, span = list[str](), max(span, timedelta(0))
    for name, unit in _SPANS:
        count, span = divmod(span, unit)
        if count or said:
            said.append(f"{count} {name}")
    return " ".join(said[:2]) or f"{span.seconds} s"
