"""`callwallet explain`: where a penny came from, or went."""

from collections.abc import Iterator
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from billing.admin_log import in_one_line
from billing.calls.call import EndedCall
from billing.explanations import Explanation
from billing.tariffs.tariff import Tariff
from cli.output import NOTHING_CHANGED, Screen, print_json, run
from settings import Settings
from store import explanations
from wiring import connect_database, workflows_url


def explain(
    key: Annotated[str, typer.Argument(help="An entry's key, such as call:abc, or its number.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Explain an entry: what for, what was heard of it, by which tariff, and where to look."""
    found = run(lambda settings: _read(settings, key), NOTHING_CHANGED)
    if as_json:
        print_json(found)
    else:
        _show(found, workflows_url(Settings()))


async def _read(settings: Settings, key: str) -> Explanation:
    engine = connect_database(settings, "explain")
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
    Screen(highlight=False, markup=False).print(table)


def _entry(found: Explanation) -> Iterator[tuple[str, str]]:
    """Yield what moved, and how it was computed."""
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
    """Yield what was heard of it, who acted, and where to look."""
    if found.call is not None:
        yield from _call(found.call.call)
    if found.message is not None and found.message.channel is not None:
        yield "went by", found.message.channel
    for one in found.related:
        yield "see also", f"{one.key}: {one.amount} from {one.debit_account}"
    for event in found.events:
        heard = f"{event.received_at:%Y-%m-%d %H:%M:%S} UTC"
        yield "webhook", f"{event.type} ({event.key}), {heard}, {event.status}"
    if found.adjustment is not None:
        yield "asked for", f"{found.adjustment.requested_by}: {found.adjustment.reason}"
    for line in found.changes:
        yield "changed", in_one_line(line)
    if found.subject is not None:
        workflow_id = found.subject.workflow_id
        yield "workflow", f"{ui}/{quote(workflow_id, safe='')}" if ui else workflow_id


def _call(call: EndedCall) -> Iterator[tuple[str, str]]:
    """Yield why a call ended, and what it cost the platform."""
    if call.ended_reason is not None:
        yield "ended", call.ended_reason
    if call.provider_cost_usd is not None:
        yield "Vapi charges", f"{call.provider_cost_usd} USD"


def _tariff(tariff: Tariff) -> str:
    rate = f"{tariff.rate_minor_per_minute.normalize():f} {tariff.currency.upper()} minor units"
    return (
        f"{tariff.tariff_id}: {rate} a minute, by {tariff.increment_seconds} s, converted at"
        f" {tariff.fx_rate.normalize():f}, in effect from {tariff.effective_from:%Y-%m-%d}"
    )
