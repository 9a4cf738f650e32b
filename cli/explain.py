"""`callwallet explain`: where a penny came from, or went."""

import asyncio
from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from api.problems import DATABASE_GONE
from billing.errors import NotFound
from billing.explanation import Explanation
from billing.tariff import Tariff
from cli import showing
from store import engine as store_engine
from store import explanations
from wiring import Settings, workflows_url

_FAILED, _BAD_INPUT = 1, 2


def explain(
    key: Annotated[str, typer.Argument(help="An entry's key, such as call:abc, or its number.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Explain an entry: what for, what was heard of it, by which tariff, and where to look."""
    settings = Settings()
    try:
        found = asyncio.run(_read(settings, key))
    except NotFound as missing:
        showing.complain(f"{missing}.")
        raise typer.Exit(_BAD_INPUT) from missing
    except DATABASE_GONE as gone:
        showing.complain(f"PostgreSQL does not answer ({type(gone).__name__}).")
        raise typer.Exit(_FAILED) from gone
    if as_json:
        typer.echo(TypeAdapter(Explanation).dump_json(found, indent=2))
    else:
        _show(found, workflows_url(settings))


async def _read(settings: Settings, key: str) -> Explanation:
    engine = store_engine.connect(settings.database_url, application_name="callwallet explain")
    async with engine.connect() as connection:
        found = await explanations.explain(connection, key)
    await engine.dispose()
    return found


def _show(found: Explanation, ui: str | None) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (*_entry(found), *_course(found, ui)):
        table.add_row(name, value)
    Console(highlight=False, markup=False).print(table)


def _entry(found: Explanation) -> Iterator[tuple[str, str]]:
    """Say what moved, and how it was computed."""
    entry = found.entry
    yield "entry", f"{entry.key} (number {entry.entry_id}, {entry.kind})"
    yield "money", f"{entry.amount} from {entry.debit_account} to {entry.credit_account}"
    yield "balance after", str(entry.balance_after)
    yield "happened", f"{entry.occurred_at:%Y-%m-%d %H:%M:%S} UTC"
    yield "recorded", f"{entry.recorded_at:%Y-%m-%d %H:%M:%S} UTC, by {entry.actor}"
    yield "cause", entry.cause
    if entry.note:
        yield "arithmetic", entry.note
    if found.tariff is not None:
        yield "tariff", _tariff(found.tariff)


def _course(found: Explanation, ui: str | None) -> Iterator[tuple[str, str]]:
    """Say what was heard of it, who acted, and where to look."""
    for one in found.related:
        yield "see also", f"{one.key}: {one.amount} from {one.debit_account}"
    for event in found.events:
        heard = f"{event.received_at:%Y-%m-%d %H:%M:%S} UTC"
        yield "webhook", f"{event.type} ({event.key}), {heard}, {event.status}"
    if found.adjustment is not None:
        yield "asked for", f"{found.adjustment.requested_by}: {found.adjustment.reason}"
    if found.subject is not None:
        workflow_id = found.subject.workflow_id
        yield "workflow", f"{ui}/{quote(workflow_id, safe='')}" if ui else workflow_id


def _tariff(tariff: Tariff) -> str:
    rate = f"{tariff.rate_minor_per_minute.normalize():f} {tariff.currency.upper()} minor units"
    return (
        f"{tariff.tariff_id}: {rate} a minute, by {tariff.increment_seconds} s, converted at"
        f" {tariff.fx_rate.normalize():f}, in effect from {tariff.effective_from:%Y-%m-%d}"
    )
