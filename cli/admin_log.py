"""`callwallet admin-log`: what people have changed, who, when, before and after."""

from datetime import timedelta
from typing import Annotated

import typer

from billing.admin_log import AdminAction, AdminLogFilter, AdminRecord, in_one_line
from billing.text import visible
from cli.output import NOTHING_CHANGED, print_json, run
from settings import Settings
from store import admin_log as book
from store.database import clock
from wiring import connect_database


def admin_log(
    *,
    org: Annotated[str | None, typer.Option(help="About this organisation.")] = None,
    actor: Annotated[
        str | None, typer.Option(help="By this key (its id or label), or whoever has this name.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="About what has this id.")] = None,
    action: Annotated[AdminAction | None, typer.Option(help="Only this.")] = None,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Of so many last days.")] = 30,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show the book of powers, newest first: keys, limits, prices, registrations, decisions."""
    which = AdminLogFilter(org, actor, subject, action)
    found = run(lambda settings: _read(settings, which, days, limit), NOTHING_CHANGED)
    if as_json:
        print_json(found)
        return
    for line in found:
        typer.echo(visible(in_one_line(line)))


async def _read(
    settings: Settings, which: AdminLogFilter, days: int, limit: int
) -> tuple[AdminRecord, ...]:
    engine = connect_database(settings, "admin-log")
    async with engine.connect() as connection:
        since = await clock.now(connection) - timedelta(days=days)
        found = await book.page(connection, which.since(since), None, limit)
    await engine.dispose()
    return tuple(found)
