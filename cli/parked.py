"""`callwallet parked`: what waits, why, and what to decide about it."""

from typing import Annotated

import typer
from pydantic import TypeAdapter

from billing.parked import ParkedFilter
from cli import parked_deciding, parked_reading, parked_showing
from cli.parked_options import Json, OlderThan, Org, Process, Reason, now, run
from cli.parked_reading import Found, Listed
from wiring import Settings, workflows_url

commands = typer.Typer(
    help="Work that waits for money, for a person, or for better times.", no_args_is_help=True
)
_MOST_LISTED = 1000


@commands.command("list")
def list_parked(
    *,
    org: Org = None,
    reason: Reason = None,
    process: Process = None,
    older_than: OlderThan = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_LISTED, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """List what is parked, the youngest processes first, and sum up all of it."""
    at = now()
    which = ParkedFilter(org, reason, process, at - older_than if older_than else None)

    async def ask(settings: Settings) -> Listed:
        async with parked_reading.connected(settings) as (temporal, _):
            return await parked_reading.read_list(temporal, which, limit)

    listed = run(ask, "Nothing was changed.")
    if as_json:
        typer.echo(TypeAdapter(Listed).dump_json(listed, indent=2))
    else:
        parked_showing.show_list(listed, at)


@commands.command()
def show(
    workflow_id: Annotated[str, typer.Argument(help="Such as call/abc.")], as_json: Json = False
) -> None:
    """Show all there is about one: what happened, what to do, what was decided so far."""

    async def ask(settings: Settings) -> Found:
        async with parked_reading.connected(settings) as (temporal, engine):
            return await parked_reading.read_one(temporal, engine, workflow_id)

    found = run(ask, "Nothing was changed.")
    if as_json:
        typer.echo(TypeAdapter(Found).dump_json(found, indent=2))
    else:
        parked_showing.show_one(found, workflows_url(Settings()), now())


commands.command()(parked_deciding.reprocess)
commands.command()(parked_deciding.discard)
commands.command()(parked_deciding.watch)
