"""Start the whole stack, measure it, and show tables: `python -m benchmarks`."""

import argparse
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import crowd, gate, one_workflow_lane, organizations, reconciliation, webhooks
from benchmarks.one_workflow_lane import Lane
from benchmarks.webhooks import WebhookFigures
from devstack.stack import Stack

Measure = Callable[[Stack], Awaitable[list[Table]]]


async def main(only: str | None, rounds: int, listed: int) -> None:
    """Measure one part or all, each on a stack of its own."""
    parts: dict[str, Measure] = {
        "speed": lambda stack: _speed(stack, rounds),
        "gate": lambda stack: _gate(stack, rounds),
        "crowd": lambda stack: _crowd(stack, rounds),
        "reconciliation": lambda stack: _night(stack, listed),
    }
    console = Console()
    for name in [only] if only else parts:
        with (
            tempfile.TemporaryDirectory(prefix="callwallet-bench-") as directory,
            console.status(f"{name} …"),
        ):
            async with Stack(Path(directory), rules=organizations.RULES) as stack:
                tables = await parts[name](stack)
        console.print(*tables)


async def _speed(stack: Stack, rounds: int) -> list[Table]:
    await webhooks.burst(stack)  # to warm up
    bursts = await _repeat(rounds, lambda: webhooks.burst(stack))
    steadies = await _repeat(rounds, lambda: webhooks.steady(stack))
    return [_webhooks(bursts, steadies), _lanes(await one_workflow_lane.measure(stack))]


async def _gate(stack: Stack, rounds: int) -> list[Table]:
    await webhooks.burst(stack)  # to warm up
    measured = [await gate.measure(stack) for _ in range(rounds)]
    table = Table(
        title=f"The gate, asked {gate.ASKED_PER_SECOND} times a second (median, and all rounds)",
        show_header=False,
    )
    table.add_row("alone, p50 ms", _figures([one.quiet_p50_milliseconds for one in measured], 1))
    table.add_row("alone, p99 ms", _figures([one.quiet_p99_milliseconds for one in measured], 1))
    table.add_row("in a burst, p50 ms", _figures([one.p50_milliseconds for one in measured], 1))
    table.add_row("in a burst, p99 ms", _figures([one.p99_milliseconds for one in measured], 1))
    table.add_row("longest ms", _figures([one.longest_milliseconds for one in measured], 1))
    table.add_row(
        "webhooks meanwhile, p99 ms",
        _figures([one.webhooks_p99_milliseconds for one in measured], 1),
    )
    table.add_row(
        "webhooks/s meanwhile", _figures([one.webhooks_per_second for one in measured], 0)
    )
    return [table]


async def _crowd(stack: Stack, rounds: int) -> list[Table]:
    await webhooks.burst(stack)  # to warm up
    measured = [await crowd.measure(stack) for _ in range(rounds)]
    table = Table(
        title=f"{webhooks.STEADY_PER_SECOND} webhooks a second in a crowd of {crowd.HELD_UPLOADS}"
        f" held uploads, {crowd.IDLE} idle, {crowd.SLOW} slow and {crowd.WORST} busy clients"
        " (median, and all rounds)",
        show_header=False,
    )
    for when, rounds_of in (
        ("alone", [one.alone for one in measured]),
        ("crowded", [one.crowded for one in measured]),
    ):
        table.add_row(f"{when}, p50 ms", _figures([one.p50_milliseconds for one in rounds_of], 1))
        table.add_row(f"{when}, p99 ms", _figures([one.p99_milliseconds for one in rounds_of], 1))
    ratios = [one.crowded.p99_milliseconds / one.alone.p99_milliseconds for one in measured]
    table.add_row("p99, crowded to alone", _figures(ratios, 2))
    table.add_row("API's MB before", _figures([one.memory_before for one in measured], 0))
    table.add_row("API's MB, the most", _figures([one.memory_peak for one in measured], 0))
    return [table]


async def _night(stack: Stack, listed: int) -> list[Table]:
    night = await reconciliation.measure(stack, listed)
    found, memory = night.report.total, night.memory
    table = Table(
        title=f"Reconciliation of {found.checked:,} calls, {found.missing:,} missing",
        show_header=False,
    )
    table.add_row("the whole run", f"{night.report.duration_seconds:.0f} s")
    table.add_row("comparing", _pace(night.comparing_seconds, found.checked, "calls"))
    table.add_row("recovering", _pace(night.recovering_seconds, found.recovered, "BillCalls"))
    table.add_row(
        "worker's MB: before, compared, peak, after",
        f"{memory.before:.0f}, {memory.compared:.0f}, {memory.peak:.0f}, {memory.after:.0f}",
    )
    lengths = " + ".join(str(length) for length in night.history_lengths)
    table.add_row("events of history", f"{lengths} ({len(night.history_lengths) - 1} times anew)")
    return [table]


def _pace(seconds: float, count: int, what: str) -> str:
    return f"{seconds:.0f} s, {count / seconds:.0f} {what}/s"


async def _repeat(
    rounds: int, measure: Callable[[], Awaitable[WebhookFigures]]
) -> list[WebhookFigures]:
    return [await measure() for _ in range(rounds)]


def _webhooks(bursts: list[WebhookFigures], steadies: list[WebhookFigures]) -> Table:
    table = Table(title="Webhooks (median, and all rounds)")
    for column in ("load", "acknowledged/s", "p50 ms", "p99 ms", "settled/s"):
        table.add_column(column, justify="left" if column == "load" else "right")
    loads = {
        f"burst of {webhooks.BURST} on {webhooks.CONNECTIONS} connections": bursts,
        f"{webhooks.STEADY_PER_SECOND} a second": steadies,
    }
    for load, rounds in loads.items():
        table.add_row(
            load,
            _figures([one.acknowledged_per_second for one in rounds], 0),
            _figures([one.p50_milliseconds for one in rounds], 1),
            _figures([one.p99_milliseconds for one in rounds], 1),
            _figures([one.settled_per_second for one in rounds], 0),
        )
    return table


def _lanes(lane: Lane) -> Table:
    table = Table(title="A workflow for each call (workflows a second)")
    for column in ("BillCall", "bare workflow, one activity", "ratio (median, and all rounds)"):
        table.add_column(column, justify="right")
    table.add_row(
        f"{lane.bill_call_per_second:.1f}",
        f"{lane.bare_per_second:.1f}",
        _figures(list(lane.ratios), 2),
    )
    return table


def _figures(values: list[float], digits: int) -> str:
    every = " ".join(f"{value:.{digits}f}" for value in values)
    return f"{median(values):.{digits}f}  ({every})"


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument(
        "--only", choices=("speed", "gate", "crowd", "reconciliation"), help="leave out the rest"
    )
    arguments.add_argument("--rounds", type=int, default=3, help="how often each load is repeated")
    arguments.add_argument(
        "--listed", type=int, default=reconciliation.LISTED, help="how many calls Vapi lists"
    )
    given = arguments.parse_args()
    uvloop.run(main(given.only, given.rounds, given.listed))
