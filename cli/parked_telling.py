"""Tell parked work what a person has decided, and watch how far that is."""

import asyncio

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from temporalio.client import Client

from api import parked_process
from api.problems import TemporalUnavailable
from billing.parked import BulkDecision, BulkProgress
from cli.showing import ERRORS

LOOK_SECONDS = 0.3


async def tell_many(temporal: Client, bulk: BulkDecision) -> BulkProgress:
    """Start a decision about many and watch it to its end. Raises TemporalUnavailable."""
    return await _watch(temporal, bulk.bulk_id, await parked_process.begin(temporal, bulk))


async def watch(temporal: Client, bulk_id: str) -> BulkProgress:
    """Watch one that was started before. Raises NotFound and TemporalUnavailable."""
    return await _watch(temporal, bulk_id, await parked_process.follow(temporal, bulk_id))


async def _watch(temporal: Client, bulk_id: str, so_far: BulkProgress) -> BulkProgress:
    """Draw how far it is until it is done; what is away meanwhile is what it waits for, too."""
    with _bar() as bar:
        task = bar.add_task("Telling", note="")
        while True:
            _draw(bar, task, so_far)
            if so_far.done:
                return so_far
            await asyncio.sleep(LOOK_SECONDS)
            try:
                so_far = await parked_process.follow(temporal, bulk_id)
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
