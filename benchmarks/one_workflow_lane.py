"""Measure a workflow for each call, in comparison with the smallest workflow (`bare`)."""

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from temporalio.client import Client

from benchmarks import organizations
from benchmarks.bare import QUEUE, Bare
from billing.calls.call import EndedCall
from devstack.programs import NAMESPACE
from devstack.stack import Stack
from workflows import bill_call
from workflows.bill_call import BillCall
from workflows.shared.data_converter import DATA_CONVERTER

WORKFLOWS = 150
IN_FLIGHT = 24
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Lane:
    """Workflows a second, as the median of the rounds, and the ratio of each round."""

    bill_call_per_second: float
    bare_per_second: float
    ratios: tuple[float, ...]


async def measure(stack: Stack) -> Lane:
    """Run both in turn on one server, so that a slow phase of the machine slows both."""
    client = await Client.connect(
        stack.temporal.address, namespace=NAMESPACE, data_converter=DATA_CONVERTER
    )
    [assistant_id] = await organizations.create(stack, 1)
    async with _bare_worker(stack):
        await _rate(lambda: _bare(client), count=20)
        await _rate(lambda: _bill_call(client, assistant_id), count=20)
        rounds = [
            (
                await _rate(lambda: _bill_call(client, assistant_id)),
                await _rate(lambda: _bare(client)),
            )
            for _ in range(ROUNDS)
        ]
    return Lane(
        bill_call_per_second=median(ours for ours, _ in rounds),
        bare_per_second=median(bare for _, bare in rounds),
        ratios=tuple(ours / bare for ours, bare in rounds),
    )


async def _rate(run: Callable[[], Awaitable[object]], count: int = WORKFLOWS) -> float:
    """Run a number of workflows, 24 at a time; return how many ended a second."""
    room = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with room:
            await run()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.perf_counter() - began)


async def _bare(client: Client) -> None:
    await client.execute_workflow(Bare.run, "nothing", id=f"bare/{uuid.uuid4()}", task_queue=QUEUE)


async def _bill_call(client: Client, assistant_id: str) -> None:
    ended = datetime.fromtimestamp(time.time(), UTC)
    call = EndedCall(
        call_id=str(uuid.uuid4()),
        assistant_id=assistant_id,
        started_at=ended - timedelta(seconds=60),
        ended_at=ended,
    )
    await client.execute_workflow(BillCall.run, call, **bill_call.start_options(call))


@asynccontextmanager
async def _bare_worker(stack: Stack) -> AsyncIterator[None]:
    """Run a worker for the bare workflow as callwallet's runs: sandboxed, in its own process."""
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare", stack.temporal.address
    )
    try:
        yield
    finally:
        worker.terminate()
        await worker.wait()
