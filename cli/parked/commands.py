"""`callwallet parked`: what waits, why, and what to decide about it."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

import typer

from billing.calls.call import call_workflow_id
from billing.calls.length import is_possible
from billing.parking.parked_work import (
    DEFAULT_PER_SECOND,
    MOST_PER_SECOND,
    BulkDecision,
    BulkProgress,
    ParkedFilter,
    Verdict,
)
from cli.output import NOTHING_CHANGED, print_json, run
from cli.parked import decide, show
from cli.parked.decide import BulkOptions
from cli.parked.show import Found, Listed
from cli.times import age
from settings import Settings
from wiring import workflows_url

commands = typer.Typer(
    help="Work that waits for money, for a person, or for better times.", no_args_is_help=True
)
_MOST_LISTED = 1000
_Org = Annotated[str | None, typer.Option(help="Of this organisation only.")]
_Reason = Annotated[str | None, typer.Option(help="Parked for this reason only (`fault`, …).")]
_Process = Annotated[
    str | None, typer.Option(help="Of this process only (`BillCall`, `SettlePayment`, …).")
]
_OlderThan = Annotated[
    timedelta | None,
    typer.Option(parser=age, metavar="AGE", help="Parked for longer than this (30m, 2h, 3d)."),
]
_Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@commands.command("list")
def list_parked(
    *,
    org: _Org = None,
    reason: _Reason = None,
    process: _Process = None,
    older_than: _OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_LISTED, help="How many.")] = 50,
    as_json: _Json = False,
) -> None:
    """List what is parked, the youngest processes first, and sum up all of it."""
    at = _now()
    which = _filter(org, reason, process, older_than, at)

    async def ask(settings: Settings) -> Listed:
        async with show.connected(settings) as (temporal, _):
            return await show.read_list(temporal, which, limit)

    listed = run(ask, NOTHING_CHANGED)
    if as_json:
        print_json(listed)
    else:
        show.show_list(listed, at)


@commands.command("show")
def show_one(
    workflow_id: Annotated[str, typer.Argument(help="Such as call/abc.")], as_json: _Json = False
) -> None:
    """Show all there is about one: what happened, what to do, what was decided so far."""

    async def ask(settings: Settings) -> Found:
        async with show.connected(settings) as (temporal, engine):
            return await show.read_one(temporal, engine, workflow_id)

    found = run(ask, NOTHING_CHANGED)
    if as_json:
        print_json(found)
    else:
        show.show_one(found, workflows_url(Settings()), _now())


def _deciding(verdict: Verdict) -> Callable[..., None]:
    """Make the command that says a verdict: its options are the same for each."""

    def command(
        workflow_id: Annotated[
            str | None, typer.Argument(help="One, such as call/abc. Without it: all that fit.")
        ] = None,
        *,
        note: Annotated[str, typer.Option(help="Why. It is recorded with your name.")],
        org: _Org = None,
        reason: _Reason = None,
        process: _Process = None,
        older_than: _OlderThan = None,
        everything: Annotated[bool, typer.Option("--all", help="All that is parked.")] = False,
        name: Annotated[
            str | None,
            typer.Option("--as", metavar="NAME", help="Who you are, if not who is logged in."),
        ] = None,
        rate: Annotated[
            int, typer.Option(min=1, max=MOST_PER_SECOND, help="How many are told in a second.")
        ] = DEFAULT_PER_SECOND,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="Say how many, and change nothing.")
        ] = False,
        yes: Annotated[
            bool, typer.Option("--yes", help="Do not ask whether that is meant.")
        ] = False,
        as_json: _Json = False,
    ) -> None:
        at = _now()
        which = _filter(org, reason, process, older_than, at)
        decide.require_one_way(workflow_id, which, everything=everything, dry_run=dry_run)
        who_and_why = decide.who_and_why(name, note)
        if workflow_id is not None:
            decide.decide_one(verdict, workflow_id, who_and_why, as_json=as_json)
        else:
            bulk = BulkDecision(decide.new_bulk_id(), verdict, which, who_and_why, rate)
            decide.decide_many(bulk, BulkOptions(at, dry_run=dry_run, yes=yes, as_json=as_json))

    return command


commands.command(
    "reprocess",
    help="Have one tried again and say what came of it, or have all that fit tried again.",
)(_deciding(Verdict.REPROCESS))
commands.command("discard", help="Give one up for good, or all that fit.")(
    _deciding(Verdict.DISCARD)
)


def _seconds(written: str) -> Decimal:
    """Read a length: 61, 61.5."""
    read = re.fullmatch(r"\d{1,5}(\.\d{1,6})?", written.strip())
    if read is None or not is_possible(Decimal(read[0])):
        raise typer.BadParameter(f"{written!r} is no length of a call in seconds (61, 61.5)")
    return Decimal(read[0])


@commands.command("length")
def charge_length(
    call: Annotated[str, typer.Argument(help="The call, such as abc or call/abc.")],
    *,
    note: Annotated[str, typer.Option(help="Why. It is recorded with your name.")],
    seconds: Annotated[
        Decimal | None,
        typer.Option(
            parser=_seconds, metavar="SECONDS", help="How long it took, if not as is said of it."
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who you are, if not who is logged in."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Charge a call that waits as `unknown_duration` by a length that you state."""
    call_id = call.removeprefix(call_workflow_id(""))
    who_and_why = decide.who_and_why(name, note)
    decide.state_length(call_id, seconds, who_and_why, _now(), as_json=as_json)


@commands.command()
def watch(
    bulk_id: Annotated[str, typer.Argument(help="As it was told when it began.")],
    as_json: _Json = False,
) -> None:
    """Watch a decision about many that is under way."""

    async def ask(settings: Settings) -> BulkProgress:
        async with show.connected(settings) as (temporal, _):
            return await decide.watch(temporal, bulk_id)

    progress = run(ask, decide.goes_on(bulk_id))
    if as_json:
        print_json(progress)
    else:
        typer.echo(decide.ended(progress))


def _filter(
    org: str | None,
    reason: str | None,
    process: str | None,
    older_than: timedelta | None,
    now: datetime,
) -> ParkedFilter:
    return ParkedFilter(org, reason, process, now - older_than if older_than else None)


def _now() -> datetime:
    """Return what time it is here; ages are told to a minute."""
    return datetime.fromtimestamp(time.time(), UTC)
