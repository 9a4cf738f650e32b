"""Measure a nightly run: Vapi lists many calls, and 3 % of them are not in the ledger."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import httpx
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistoryEventFilterType

from benchmarks import memory, organizations
from billing.calls.call import EndedCall
from billing.calls.vapi import call_from_api
from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Reconciliation, Report
from devstack.programs import NAMESPACE
from devstack.providers.vapi.requests import Generated
from devstack.stack import Stack
from store.calls import calls
from store.database import engine as store_engine
from store.schema import reconciliation_findings as findings
from workflows import reconciliation
from workflows.reconcile_vapi import ReconcileVapi
from workflows.shared.data_converter import DATA_CONVERTER

LISTED = 100_000
MISSING_OF_A_HUNDRED = 3
ORGANIZATIONS = 20
# The youngest call began this long ago. It took ten minutes at most, so its grace period is over.
_ENDED_BEFORE = timedelta(minutes=21)
_BILLED_AT_ONCE = 2000
_LOOK_EVERY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the worker in MB: before the run, in it, and when it was over."""

    before: float
    compared: float
    peak: float
    after: float


@dataclass(frozen=True, slots=True)
class Night:
    """What a run took. Its history lengths are those between one continue-as-new and the next."""

    report: Report
    comparing_seconds: float
    recovering_seconds: float
    memory: Memory
    history_lengths: tuple[int, ...]


async def measure(stack: Stack, listed: int) -> Night:
    """Fill Vapi's list, bill 97 % of it, and run a reconciliation, which must find the rest."""
    engine = store_engine.connect(stack.postgres.url(), application_name="benchmark", pool_size=1)
    client = await Client.connect(
        stack.temporal.address, namespace=NAMESPACE, data_converter=DATA_CONVERTER
    )
    generated = Generated(
        count=listed,
        assistant_ids=await organizations.create(stack, ORGANIZATIONS),
        to=datetime.fromtimestamp(time.time(), UTC) - _ENDED_BEFORE,
    )
    await _list(stack, generated)
    await _bill(engine, generated)
    night = await _run(client, engine, stack.pids()["worker"])
    await engine.dispose()
    found, missing = night.report.total, sum(map(_is_missing, range(listed)))
    if (found.checked, found.missing, found.recovered) != (listed, missing, missing):
        raise RuntimeError(f"the run should have recovered {missing} of {listed}: {found}")
    return night


async def _list(stack: Stack, generated: Generated) -> None:
    async with httpx.AsyncClient(base_url=stack.vapi_url, trust_env=False, timeout=300) as vapi:
        made = await vapi.post("/_control/calls", json=generated.model_dump(mode="json"))
        made.raise_for_status()


async def _bill(engine: AsyncEngine, generated: Generated) -> None:
    """Bill the calls whose webhooks arrived, in large sets, as the drain does in a flood."""
    arrived = _arrived(generated)
    while some := list(islice(arrived, _BILLED_AT_ONCE)):
        async with engine.begin() as connection:
            await calls.charge(connection, some)


def _arrived(generated: Generated) -> Iterator[EndedCall]:
    """Yield the listed calls but the missing ones. The same seed makes the same calls again."""
    now = datetime.fromtimestamp(time.time(), UTC)
    for number, call in enumerate(generated.calls(now)):
        if not _is_missing(number):
            yield call_from_api(call)


def _is_missing(number: int) -> bool:
    return number % 100 < MISSING_OF_A_HUNDRED


async def _run(client: Client, engine: AsyncEngine, worker: int) -> Night:
    wanted = Reconciliation(Source.VAPI)
    before = memory.now(worker)
    handle = await client.start_workflow(
        ReconcileVapi.run, wanted, **reconciliation.start_options(wanted)
    )
    ended = asyncio.create_task(handle.result())
    samples = await _sample(worker, ended)
    report = await ended
    if report is None:
        raise RuntimeError("the run was given up")
    compared_at = await _compared_at(engine, report.run.run_id)
    comparing_seconds = (compared_at - report.run.started_at).total_seconds()
    figures = Memory(
        before=before,
        compared=[resident for moment, resident in samples if moment <= compared_at][-1],
        peak=memory.peak(worker),
        after=memory.now(worker),
    )
    return Night(
        report=report,
        comparing_seconds=comparing_seconds,
        recovering_seconds=float(report.duration_seconds) - comparing_seconds,
        memory=figures,
        history_lengths=await _history_lengths(client, handle.id, report.run.run_id),
    )


async def _sample(worker: int, ended: asyncio.Task[Report | None]) -> list[tuple[datetime, float]]:
    samples = []
    while not ended.done():
        samples.append((datetime.fromtimestamp(time.time(), UTC), memory.now(worker)))
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
    return samples


async def _compared_at(engine: AsyncEngine, run_id: str) -> datetime:
    """Read when the first findings were handed on: the list had been read to its end by then."""
    query = select(func.min(findings.c.handed_on_at)).where(findings.c.run_id == run_id)
    async with engine.connect() as connection:
        moment: datetime = (await connection.execute(query)).scalar_one()
    return moment


async def _history_lengths(client: Client, workflow_id: str, run_id: str) -> tuple[int, ...]:
    """Follow a run from one continue-as-new to the next; return how many events each part has."""
    lengths = []
    while run_id:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        lengths.append((await handle.describe()).history_length)
        [end] = [
            event
            async for event in handle.fetch_history_events(
                event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
            )
        ]
        is_anew = end.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW
        anew = end.workflow_execution_continued_as_new_event_attributes
        run_id = anew.new_execution_run_id if is_anew else ""
    return tuple(lengths)
