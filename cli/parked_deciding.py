"""`callwallet parked reprocess` and `discard`: decide about one, or about all that fit."""

import getpass
import uuid
from dataclasses import dataclass
from typing import Annotated

import typer
from pydantic import TypeAdapter

from api import parked_process
from billing.parked import (
    DEFAULT_PER_SECOND,
    MOST_PER_SECOND,
    BulkDecision,
    BulkProgress,
    ParkedFilter,
    ParkedTotal,
    Verdict,
)
from cli import parked_reading, parked_showing, parked_telling, showing
from cli.parked_options import FAILED, Json, OlderThan, Org, Process, Reason, now, run
from wiring import Settings

_DONE = ("settled", "discarded")
WorkflowId = Annotated[
    str | None, typer.Argument(help="One, such as call/abc. Without it: all that fit.")
]
Everything = Annotated[bool, typer.Option("--all", help="All that is parked.")]
Note = Annotated[str, typer.Option(help="Why. It is recorded with your name.")]
Name = Annotated[
    str | None, typer.Option("--as", metavar="NAME", help="Who you are, if not who is logged in.")
]
Rate = Annotated[
    int, typer.Option(min=1, max=MOST_PER_SECOND, help="How many are told in a second.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say how many, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a decision about one."""

    workflow_id: str
    verdict: Verdict
    standing: str


@dataclass(frozen=True, slots=True)
class ToldMany:
    """What came of a decision about many; of a dry run there is no bulk and no progress."""

    verdict: Verdict
    totals: tuple[ParkedTotal, ...]
    bulk_id: str | None = None
    progress: BulkProgress | None = None


@dataclass(frozen=True, slots=True)
class _How:
    """What else was said about how to go about it."""

    rate: int
    dry_run: bool
    yes: bool
    as_json: bool


def reprocess(
    workflow_id: WorkflowId = None,
    *,
    note: Note,
    org: Org = None,
    reason: Reason = None,
    process: Process = None,
    older_than: OlderThan = None,
    everything: Everything = False,
    name: Name = None,
    rate: Rate = DEFAULT_PER_SECOND,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Have one tried again and say what came of it, or have all that fit tried again."""
    which = ParkedFilter(org, reason, process, now() - older_than if older_than else None)
    _require_one_way(workflow_id, which, everything=everything, dry_run=dry_run)
    how = _How(rate, dry_run, yes, as_json)
    _decide(Verdict.REPROCESS, workflow_id, which, _who_and_why(name, note), how)


def discard(
    workflow_id: WorkflowId = None,
    *,
    note: Note,
    org: Org = None,
    reason: Reason = None,
    process: Process = None,
    older_than: OlderThan = None,
    everything: Everything = False,
    name: Name = None,
    rate: Rate = DEFAULT_PER_SECOND,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Give one up for good, or all that fit."""
    which = ParkedFilter(org, reason, process, now() - older_than if older_than else None)
    _require_one_way(workflow_id, which, everything=everything, dry_run=dry_run)
    how = _How(rate, dry_run, yes, as_json)
    _decide(Verdict.DISCARD, workflow_id, which, _who_and_why(name, note), how)


def watch(
    bulk_id: Annotated[str, typer.Argument(help="As it was told when it began.")],
    as_json: Json = False,
) -> None:
    """Watch a decision about many that is under way."""

    async def ask(settings: Settings) -> BulkProgress:
        async with parked_reading.connected(settings) as (temporal, _):
            return await parked_telling.watch(temporal, bulk_id)

    progress = run(ask, _goes_on(bulk_id))
    if as_json:
        typer.echo(TypeAdapter(BulkProgress).dump_json(progress, indent=2))
    else:
        typer.echo(_ended(progress))


def _decide(
    verdict: Verdict, workflow_id: str | None, which: ParkedFilter, who: str, how: _How
) -> None:
    if workflow_id is None:
        _decide_many(verdict, which, who, how)
    else:
        _decide_one(verdict, workflow_id, who, as_json=how.as_json)


def _decide_one(verdict: Verdict, workflow_id: str, who: str, *, as_json: bool) -> None:
    """Tell one, and say how it stands then; only what is done with is the status 0."""

    async def ask(settings: Settings) -> str:
        async with parked_reading.connected(settings) as (temporal, _):
            return await parked_process.decide(temporal, workflow_id, verdict, who)

    standing = run(ask, f"It may have been told: see `callwallet parked show {workflow_id}`.")
    if as_json:
        answer = Answered(workflow_id, verdict, standing)
        typer.echo(TypeAdapter(Answered).dump_json(answer, indent=2))
    else:
        typer.echo(f"{workflow_id}: {standing}")
    if standing not in _DONE:
        raise typer.Exit(FAILED)


def _decide_many(verdict: Verdict, which: ParkedFilter, who: str, how: _How) -> None:
    """Say what it is about, have it confirmed, and watch it."""
    totals = run(lambda settings: _totals(settings, which), "Nothing was decided.")
    bulk = BulkDecision(uuid.uuid4().hex, verdict, which, who, how.rate)
    if not how.as_json:
        parked_showing.show_totals(totals, now())
    if how.dry_run or not totals:
        _show_json(ToldMany(verdict, totals), as_json=how.as_json)
        return
    if not how.yes:
        question = f"{verdict.capitalize()} all of it ({parked_showing.summary(totals)})?"
        typer.confirm(question, abort=True, err=True)
    showing.ERRORS.print(f"Bulk decision {bulk.bulk_id}", highlight=False)
    progress = run(lambda settings: _tell(settings, bulk), _goes_on(bulk.bulk_id))
    _show_json(ToldMany(verdict, totals, bulk.bulk_id, progress), as_json=how.as_json)
    if not how.as_json:
        typer.echo(_ended(progress))


async def _totals(settings: Settings, which: ParkedFilter) -> tuple[ParkedTotal, ...]:
    async with parked_reading.connected(settings) as (temporal, _):
        return await parked_process.sum_up(temporal, which)


async def _tell(settings: Settings, bulk: BulkDecision) -> BulkProgress:
    async with parked_reading.connected(settings) as (temporal, _):
        return await parked_telling.tell_many(temporal, bulk)


def _show_json(told: ToldMany, *, as_json: bool) -> None:
    if as_json:
        typer.echo(TypeAdapter(ToldMany).dump_json(told, indent=2))


def _require_one_way(
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


def _who_and_why(name: str | None, note: str) -> str:
    who = (_logged_in() if name is None else name).strip()
    if not who or not note.strip():
        raise typer.BadParameter("say who you are (--as), and why (--note)")
    return f"{who}: {note.strip()}"


def _logged_in() -> str:
    """Say whose shell it is; nobody's in a container whose user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


def _ended(progress: BulkProgress) -> str:
    gone = f"; {progress.gone:,} had ended before" if progress.gone else ""
    return (
        f"{progress.told:,} were told{gone}. They go on by themselves: what cannot parks again"
        " (`callwallet parked list`)."
    )


def _goes_on(bulk_id: str) -> str:
    return f"It goes on without you; watch it again: `callwallet parked watch {bulk_id}`."
