"""Start the whole stack, measure it, and show tables: `python -m benchmarks [--rounds N]`."""

import argparse
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import one_workflow_lane, webhooks
from benchmarks.one_workflow_lane import Lane
from benchmarks.webhooks import Figures
from devstack.stack import Stack


async def main(rounds: int) -> None:
    """Measure everything in one run, on a stack of its own."""
    console = Console()
    with (
        tempfile.TemporaryDirectory(prefix="callwallet-bench-") as directory,
        console.status("starting the stack …") as status,
    ):
        async with Stack(Path(directory)) as stack:
            status.update("warming up …")
            await webhooks.burst(stack)
            status.update("bursts …")
            bursts = await _repeat(rounds, lambda: webhooks.burst(stack))
            status.update("a steady rate …")
            steadies = await _repeat(rounds, lambda: webhooks.steady(stack))
            status.update("a workflow for each call …")
            lane = await one_workflow_lane.measure(stack)
    console.print(_webhooks(bursts, steadies), _lanes(lane))


async def _repeat(rounds: int, measure: Callable[[], Awaitable[Figures]]) -> list[Figures]:
    return [await measure() for _ in range(rounds)]


def _webhooks(bursts: list[Figures], steadies: list[Figures]) -> Table:
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
    arguments.add_argument("--rounds", type=int, default=3, help="how often each load is repeated")
    uvloop.run(main(arguments.parse_args().rounds))
