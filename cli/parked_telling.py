"""Tell parked work what a person has decided: one with an answer, many at a bearable pace."""

import asyncio

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from api import processes
from api.problems import TEMPORAL_GONE, TemporalUnavailable
from billing.errors import Conflict, NotFound
from billing.parked import BulkDecision, BulkProgress, Verdict
from cli.showing import ERRORS
from workflows import decide_parked
from workflows.decide_parked import DecideParked

ANSWER_SECONDS = 30.0
LOOK_SECONDS = 0.3
Bulk = WorkflowHandle[DecideParked, BulkProgress]


async def tell_one(temporal: Client, workflow_id: str, verdict: Verdict, who_and_why: str) -> str:
    """Decide about one; answers with how it stands then: `settled`, `parked: fault: …`.

    Raises NotFound, Conflict if it is not parked, and TemporalUnavailable.
    """
    await _require_worker(temporal)
    handle = temporal.get_workflow_handle(workflow_id)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            answer: str = await handle.execute_update(verdict, who_and_why, result_type=str)
            return answer
    except WorkflowUpdateFailedError as refused:
        raise Conflict(f"{workflow_id}: {refused.cause}") from refused
    except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError) as late:
        raise TemporalUnavailable(
            f"{workflow_id} was told, and has not answered within {ANSWER_SECONDS:.0f} s; see"
            f" `callwallet parked show {workflow_id}`"
        ) from late
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise NotFound(f"no process {workflow_id} runs ({error.message})") from error


async def tell_many(temporal: Client, bulk: BulkDecision) -> BulkProgress:
    """Start a decision about many and watch it to its end. Raises TemporalUnavailable."""
    await _require_worker(temporal)
    options = decide_parked.start_options(bulk)
    return await _watch(await temporal.start_workflow(DecideParked.run, bulk, **options))


async def watch(temporal: Client, bulk_id: str) -> BulkProgress:
    """Watch one that was started before; one that is over is told at once. Raises NotFound."""
    handle = temporal.get_workflow_handle_for(DecideParked.run, decide_parked.workflow_id(bulk_id))
    try:
        await handle.describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise NotFound(f"there is no bulk decision {bulk_id} ({error.message})") from error
    return await _watch(handle)


async def _watch(handle: Bulk) -> BulkProgress:
    """Draw how far it is until it is done."""
    with _bar() as bar:
        task = bar.add_task("Telling", total=None, gone="")
        ending = asyncio.create_task(handle.result())
        while not ending.done():
            if so_far := await _look(handle):
                _draw(bar, task, so_far)
            await asyncio.wait([ending], timeout=LOOK_SECONDS)
        done = await ending
        _draw(bar, task, done)
        return done


async def _look(handle: Bulk) -> BulkProgress | None:
    """Ask how far it is; a worker or a server that is away is one that it waits for, too."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await handle.query(DecideParked.progress)
    except (TimeoutError, WorkflowQueryFailedError, *TEMPORAL_GONE):
        return None


def _draw(bar: Progress, task: TaskID, so_far: BulkProgress) -> None:
    gone = f"{so_far.gone:,} had ended before" if so_far.gone else ""
    bar.update(task, total=so_far.matched, completed=so_far.told + so_far.gone, gone=gone)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[gone]}"),
        TimeElapsedColumn(),
        console=ERRORS,
    )


async def _require_worker(temporal: Client) -> None:
    if not await processes.worker_polls(temporal):
        raise TemporalUnavailable(
            "no worker is running, so nothing was decided; start one (`python -m worker`)"
        )
