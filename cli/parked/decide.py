"""Decide about parked work, one or all that fit, and watch how far that is."""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.adjustments import Who
from billing.admin_log import AdminAction, Values
from billing.calls.call import call_workflow_id
from billing.calls.call_record import stated_length
from billing.parking.admin_log import VERDICTS, decided_about, decided_about_many
from billing.parking.parked_work import (
    BulkDecision,
    BulkProgress,
    ParkedFilter,
    ParkedTotal,
    ParkedWork,
    Verdict,
)
from billing.text import visible
from cli.output import ERRORS, FAILED, by_command, logged_in, print_json, require_plain, run
from cli.parked import show
from processes import parked
from processes.errors import TemporalUnavailable
from settings import Settings
from store.alerts import changes
from store.calls import call_records

CHARGED: Literal["charge_length"] = "charge_length"
_DONE = ("settled", "discarded")
_LOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a decision about one."""

    workflow_id: str
    verdict: Verdict | Literal["charge_length"]
    standing: str


@dataclass(frozen=True, slots=True)
class BulkAnswer:
    """What came of a decision about many; of a dry run there is no bulk and no progress."""

    verdict: Verdict
    totals: tuple[ParkedTotal, ...]
    bulk_id: str | None = None
    progress: BulkProgress | None = None


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How to go about a decision about many, and what time it is."""

    now: datetime
    dry_run: bool
    yes: bool
    as_json: bool


def decide_one(verdict: Verdict, workflow_id: str, who_and_why: str, *, as_json: bool) -> None:
    """Tell one, and say how it stands then; only what is done with is the status 0."""

    async def ask(settings: Settings) -> str:
        async with show.connected(settings) as (temporal, engine):
            note = _noting(engine, VERDICTS[verdict], who_and_why)
            return str(await parked.decide(temporal, workflow_id, verdict, who_and_why, note))

    standing = run(ask, _may_have_been_told(workflow_id))
    _say(Answered(workflow_id, verdict, standing), as_json=as_json)


def state_length(
    call_id: str, seconds: Decimal | None, who_and_why: str, now: datetime, *, as_json: bool
) -> None:
    """Have a call charged by a length, and say how it stands then, as for a decision about one."""

    async def ask(settings: Settings) -> str:
        async with show.connected(settings) as (temporal, engine):
            async with engine.connect() as connection:
                call = (await call_records.read(connection, call_id)).call
            length = stated_length(call, seconds, who_and_why, now)
            after = {"seconds": str(length.seconds)}
            note = _noting(engine, AdminAction.LENGTH_STATED, who_and_why, after)
            return str(await parked.charge_length(temporal, call_id, length, note))

    workflow_id = call_workflow_id(call_id)
    standing = run(ask, _may_have_been_told(workflow_id))
    _say(Answered(workflow_id, CHARGED, standing), as_json=as_json)


def _noting(
    engine: AsyncEngine, action: AdminAction, who_and_why: str, after: Values | None = None
) -> parked.Note:
    """Return what writes a decision into the book, before the process hears of it."""

    async def note(work: ParkedWork) -> None:
        async with engine.begin() as connection:
            change = decided_about(_by(who_and_why), action, work, who_and_why, after)
            await changes.record(connection, change)

    return note


def _by(who_and_why: str) -> Who:
    return by_command(who_and_why.partition(":")[0])


def _may_have_been_told(workflow_id: str) -> str:
    return f"It may have been told: see `callwallet parked show {workflow_id}`."


def _say(answered: Answered, *, as_json: bool) -> None:
    if as_json:
        print_json(answered)
    else:
        typer.echo(visible(f"{answered.workflow_id}: {answered.standing}", kept="\n"))
    if answered.standing not in _DONE:
        raise typer.Exit(FAILED)


def decide_many(bulk: BulkDecision, options: BulkOptions) -> None:
    """Say what it is about, have it confirmed, and watch it."""
    totals = run(lambda settings: _totals(settings, bulk.which), "Nothing was decided.")
    if not options.as_json:
        show.show_totals(totals, options.now)
    if options.dry_run or not totals:
        _print(BulkAnswer(bulk.verdict, totals), options)
        return
    if not options.yes:
        question = f"{bulk.verdict.capitalize()} all of it ({show.summary(totals)})?"
        typer.confirm(question, abort=True, err=True)
    ERRORS.print(f"Bulk decision {bulk.bulk_id}", highlight=False)
    progress = run(lambda settings: _begin(settings, bulk), goes_on(bulk.bulk_id))
    _print(BulkAnswer(bulk.verdict, totals, bulk.bulk_id, progress), options)
    if not options.as_json:
        typer.echo(ended(progress))


async def watch(temporal: Client, bulk_id: str) -> BulkProgress:
    """Watch one that was started before. Raise NotFound and TemporalUnavailable."""
    return await _watch(temporal, bulk_id, await parked.follow(temporal, bulk_id))


def require_one_way(
    workflow_id: str | None, which: ParkedFilter, *, everything: bool, dry_run: bool
) -> None:
    """One is named, or many are described, or it is all of them: nothing is meant by accident."""
    described = which != ParkedFilter()
    ways = (workflow_id is not None) + described + everything
    if ways == 0:
        raise typer.BadParameter("say which: a process, what they have in common, or --all")
    if ways > 1:
        raise typer.BadParameter("a process, what they have in common, or --all: only one of these")
    if workflow_id is not None and dry_run:
        raise typer.BadParameter("a dry run is for many; `callwallet parked show` tells of one")


def who_and_why(name: str | None, note: str) -> str:
    """Return who decides and why, as it is recorded; raise BadParameter when either is missing."""
    who = (logged_in() if name is None else name).strip()
    if not who or not note.strip():
        raise typer.BadParameter("say who you are (--as), and why (--note)")
    require_plain(who)
    require_plain(note.strip())
    return f"{who}: {note.strip()}"


def new_bulk_id() -> str:
    """Return a name for a decision about many that nothing else has."""
    return uuid.uuid4().hex


def ended(progress: BulkProgress) -> str:
    """Return what to say of a decision about many that is over."""
    gone = f"; {progress.gone:,} had ended before" if progress.gone else ""
    return (
        f"{progress.told:,} were told{gone}. They go on by themselves: what cannot parks again"
        " (`callwallet parked list`)."
    )


def goes_on(bulk_id: str) -> str:
    """Return what to say to a person who stops watching."""
    return f"It goes on without you; watch it again: `callwallet parked watch {bulk_id}`."


async def _totals(settings: Settings, which: ParkedFilter) -> tuple[ParkedTotal, ...]:
    async with show.connected(settings) as (temporal, _):
        return await parked.sum_up(temporal, which)


async def _begin(settings: Settings, bulk: BulkDecision) -> BulkProgress:
    """Start a decision about many and watch it to its end."""
    async with show.connected(settings) as (temporal, engine):
        async with engine.begin() as connection:
            by = _by(bulk.who_and_why)
            await changes.record(connection, decided_about_many(by, bulk))
        return await _watch(temporal, bulk.bulk_id, await parked.begin(temporal, bulk))


async def _watch(temporal: Client, bulk_id: str, so_far: BulkProgress) -> BulkProgress:
    """Draw how far it is until it is done; what is away meanwhile is what it waits for, too."""
    with _bar() as bar:
        task = bar.add_task("Telling", note="")
        while True:
            _draw(bar, task, so_far)
            if so_far.done:
                return so_far
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                so_far = await parked.follow(temporal, bulk_id)
            except TemporalUnavailable as away:
                bar.update(task, note=str(away))


def _draw(bar: Progress, task: TaskID, so_far: BulkProgress) -> None:
    note = f"{so_far.gone:,} had ended before" if so_far.gone else ""
    bar.update(task, total=so_far.matched, completed=so_far.told + so_far.gone, note=note)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=ERRORS,
    )


def _print(answer: BulkAnswer, options: BulkOptions) -> None:
    if options.as_json:
        print_json(answer)
