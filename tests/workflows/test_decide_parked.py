"""One decision about many: each is told once, at the pace that was asked for, and records it."""

import asyncio
import time
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from activities.parking.visibility import Visibility
from billing.calls.call import CallBill, CallState
from billing.parking.parked_work import (
    BulkDecision,
    BulkProgress,
    DecisionRecord,
    ParkedFilter,
    Verdict,
    bulk_id,
)
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, balance_of, credit, ended_call, keys_of, unique
from tests.support.parked_workflows import (
    attributes,
    calls_that_wait,
    ended,
    page,
    recorded,
    start_bill,
    until_parked,
)
from tests.workflows.conftest import SkippingWorld, World
from workflows import decide_parked
from workflows.bill_call import BillCall
from workflows.decide_parked import DecideParked

Bulk = WorkflowHandle[DecideParked, BulkProgress]
Call = WorkflowHandle[BillCall, CallBill]
ANN = "Ann: the limit was too low"


async def start(
    temporal: Client, which: ParkedFilter, verdict: Verdict = Verdict.REPROCESS, pace: int = 20
) -> Bulk:
    bulk = BulkDecision(bulk_id("a test", unique("key")), verdict, which, ANN, per_second=pace)
    options = decide_parked.start_options(bulk)
    return await temporal.start_workflow(DecideParked.run, bulk, **options)


async def until_recorded(engine: AsyncEngine, handle: Call) -> list[DecisionRecord]:
    async def records() -> list[DecisionRecord]:
        return await recorded(engine, handle.id)

    return await eventually(records)


async def test_each_is_told_once_with_the_name_of_the_bulk(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handles = await calls_that_wait(worker, engine, 5)
    await credit(engine, org_id, 3 * 56)
    bulk = await start(worker, ParkedFilter(org_id))
    assert await ended(bulk) == BulkProgress(matched=5, told=5, gone=0, done=True)
    for handle in handles:
        [record] = await until_recorded(engine, handle)
        name = bulk.id.removeprefix("decide/")
        assert (record.verdict, record.who_and_why) == (
            Verdict.REPROCESS, f"{ANN} (bulk {name})",
        )  # fmt: skip
        assert (record.org_id, record.reason) == (org_id, "debt_limit")

    async def are_settled() -> bool:
        return len(await keys_of(engine, org_id)) == 3

    await eventually(are_settled)
    assert await balance_of(engine, org_id) == 0
    assert (await attributes(bulk))[0] == "settled"
    assert f"{ANN}\n\n**Matched:** 5 · **Told:** 5 · **Gone:** 0" in await page(bulk)


async def test_nobody_is_told_whom_it_is_not_about(worker: Client, engine: AsyncEngine) -> None:
    org_id, [old, *_] = await calls_that_wait(worker, engine, 1)
    [work] = (await Visibility(worker).parked(ParkedFilter(org_id), 1)).items
    for which in (
        ParkedFilter(org_id, reason="fault"),
        ParkedFilter(org_id, process="SettlePayment"),
        ParkedFilter(org_id, parked_before=work.since - timedelta(seconds=1)),
        ParkedFilter(unique("org")),
    ):
        assert await ended(await start(worker, which, Verdict.DISCARD)) == BulkProgress(done=True)
    assert (await attributes(old))[0] == "parked"
    assert await recorded(engine, old.id) == []


async def test_no_more_are_told_in_a_second_than_was_asked_for(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handles = await calls_that_wait(worker, engine, 7)
    began = time.monotonic()
    bulk = await start(worker, ParkedFilter(org_id), Verdict.DISCARD, pace=2)

    async def some_are_told() -> bool:
        progress = await bulk.query(DecideParked.progress)
        return 0 < progress.told < 7 and progress.matched == 7 and not progress.done

    await eventually(some_are_told)
    assert await ended(bulk) == BulkProgress(7, 7, 0, done=True)
    assert time.monotonic() - began > 3
    for handle in handles:
        assert (await ended(handle)).state is CallState.DISCARDED
    told = [(await recorded(engine, handle.id))[0].decided_at for handle in handles]
    assert max(told) - min(told) > timedelta(seconds=2.5)


async def test_what_has_ended_in_the_meantime_is_counted_as_gone(
    worker: Client, engine: AsyncEngine
) -> None:
    """One is told a second: so many that a busy machine is not done before they are discarded."""
    org_id, handles = await calls_that_wait(worker, engine, 8)
    bulk = await start(worker, ParkedFilter(org_id), Verdict.DISCARD, pace=1)

    async def one_is_told() -> bool:
        return (await bulk.query(DecideParked.progress)).told > 0

    await eventually(one_is_told)
    await asyncio.gather(*(handle.signal(BillCall.discard, "Bob: at once") for handle in handles))
    progress = await ended(bulk)
    assert progress.done
    assert progress.matched == progress.told + progress.gone == 8
    assert progress.gone >= 1
    for handle in handles:
        assert (await ended(handle)).state is CallState.DISCARDED


async def test_what_parks_after_it_began_is_not_told(world: World) -> None:
    org_id, handles = await calls_that_wait(world.temporal, world.engine, 3)
    bulk = await start(world.temporal, ParkedFilter(org_id), pace=1)
    assistant = await an_assistant(world.engine, org_id)
    late = await start_bill(world.temporal, ended_call(assistant))
    await until_parked(late, "debt_limit")
    assert await ended(bulk) == BulkProgress(3, 3, 0, done=True)
    assert await recorded(world.engine, late.id) == []
    for handle in handles:
        assert len(await recorded(world.engine, handle.id)) == 1


async def test_a_long_one_begins_anew_and_tells_each_once_all_the_same(
    skipping: SkippingWorld,
) -> None:
    """A history of a hundred events is long here, and a second between two portions nothing."""
    temporal, engine = skipping.temporal, skipping.engine
    org_id, handles = await calls_that_wait(temporal, engine, 40)
    bulk = await start(temporal, ParkedFilter(org_id), Verdict.DISCARD, pace=3)
    assert await ended(bulk) == BulkProgress(40, 40, 0, done=True)
    last = await temporal.get_workflow_handle(bulk.id).describe()
    assert last.run_id != bulk.first_execution_run_id
    for handle in handles:
        await ended(handle)
        assert len(await recorded(engine, handle.id)) == 1
