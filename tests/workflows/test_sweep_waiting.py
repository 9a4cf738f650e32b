"""What waits in PostgreSQL is found once a day, whoever should have told it that it need not."""

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

import activities.collection.sweep
import workflows.shared.drain
from billing.calls.call import CallState
from billing.collection import WaitingSweep
from billing.ledger.money import Currency
from billing.tariffs.tariff import Tariff
from store import adjustments
from store.schema import tariffs
from tests.processes.test_schedules import triggered
from tests.support.eventually import eventually
from tests.support.factories import (
    a_sid,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    now,
    register,
    unique,
)
from tests.support.messages import report_statuses
from tests.support.parked_workflows import ended, page, start_bill, until_parked
from tests.support.proposals import proposed
from tests.workflows.conftest import World
from workflows.shared.options import BILLING_QUEUE
from workflows.sweep_waiting import SweepWaiting

LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


async def sweep(temporal: Client) -> WaitingSweep:
    handle = await temporal.start_workflow(
        SweepWaiting.run, id=unique("sweep-waiting"), task_queue=BILLING_QUEUE
    )
    return await ended(handle)


async def waited_for_hours(engine: AsyncEngine) -> None:
    """Let everything that waits have waited for two hours."""
    async with engine.begin() as connection:
        # When an adjustment was asked for cannot be changed otherwise.
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table, column in (
            ("calls", "updated_at"),
            ("messages", "updated_at"),
            ("adjustments", "requested_at"),
            ("recharge_attempts", "written_at"),
        ):
            past = f"UPDATE {table} SET {column} = now() - interval '2 hours'"  # noqa: S608
            await connection.execute(text(past))


async def terminate(handle: WorkflowHandle[Any, Any]) -> None:
    """Terminate a process, and wait until no list shows it as running."""
    await handle.terminate("a test")

    async def is_gone() -> bool:
        return (await handle.describe()).status is WorkflowExecutionStatus.TERMINATED

    await eventually(is_gone)


async def runs(temporal: Client, workflow_id: str) -> bool:
    try:
        found = await temporal.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return found.status is WorkflowExecutionStatus.RUNNING


@pytest.fixture(autouse=True)
async def nothing_waits_any_more(world: World) -> AsyncIterator[None]:
    """Leave nothing that waits to the tests that follow."""
    yield
    async with world.engine.begin() as connection:
        await connection.execute(
            text("UPDATE calls SET state = 'discarded' WHERE state <> 'settled'")
        )
        await connection.execute(text("UPDATE messages SET state = 'discarded'"))
        await connection.execute(
            text("UPDATE adjustments SET state = 'rejected' WHERE state = 'pending'")
        )
        await connection.execute(text("UPDATE recharge_attempts SET state = 'abandoned'"))


async def test_what_can_be_paid_by_now_is_paid_and_what_cannot_is_not_even_tried(
    world: World,
) -> None:
    """Money came, and whoever should have collected did not."""
    rich, poor = [await an_organization(world.engine, debt_limit_minor=0) for _ in range(2)]
    waiting = [
        await start_bill(world.temporal, ended_call(await an_assistant(world.engine, org_id)))
        for org_id in (rich, poor)
    ]
    for handle in waiting:
        await until_parked(handle, CallState.DEBT_LIMIT)
    await credit(world.engine, rich, 56)
    before = await waiting[1].describe()
    assert (await sweep(world.temporal)).collected == 1
    assert (await ended(waiting[0])).state is CallState.SETTLED
    assert await balance_of(world.engine, rich) == 0
    assert (await waiting[1].describe()).history_length == before.history_length
    await waiting[1].terminate("a test")


async def test_a_call_that_has_an_owner_by_now_is_charged(world: World) -> None:
    assistant = unique("assistant")
    handle = await start_bill(world.temporal, ended_call(assistant))
    await until_parked(handle, CallState.UNKNOWN_ASSISTANT)
    org_id = await an_organization(world.engine, 100)
    await register(world.engine, assistant, org_id)
    await sweep(world.temporal)
    assert (await ended(handle)).org_id == org_id


async def test_a_call_that_has_a_tariff_by_now_is_charged(world: World) -> None:
    org_id = await an_organization(world.engine, 100)
    call = ended_call(await an_assistant(world.engine, org_id), ended_at=LONG_AGO)
    handle = await start_bill(world.temporal, call)
    await until_parked(handle, CallState.NO_TARIFF)
    tariff = Tariff(
        unique("tariff"),
        Currency.GBP,
        Decimal(60),
        1,
        0,
        Decimal(1),
        Currency.GBP,
        LONG_AGO - timedelta(days=1),
        org_id,
    )
    async with world.engine.begin() as connection:
        await connection.execute(insert(tariffs).values(asdict(tariff)))
    assert (await sweep(world.temporal)).told == 1
    assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(world.engine, org_id) == 40


async def test_what_was_terminated_while_its_row_waits_gets_another_process(world: World) -> None:
    org_id = await an_organization(world.engine, debt_limit_minor=0)
    call = ended_call(await an_assistant(world.engine, org_id))
    handle = await start_bill(world.temporal, call)
    await until_parked(handle, CallState.DEBT_LIMIT)
    await terminate(handle)
    sid = a_sid()
    message = await report_statuses(world.temporal, sid, "sent")
    await until_parked(message, "message_missing")
    await terminate(message)
    proposal, attempt = proposed(org_id), unique("attempt")
    today = await now(world.engine)
    async with world.engine.begin() as connection:
        await connection.execute(text("UPDATE messages SET state = 'unknown_sender'"))
        await adjustments.create(connection, proposal, today, today + timedelta(days=7))
        await connection.execute(
            text(
                "INSERT INTO recharge_attempts (attempt_id, org_id, number, state, amount_minor,"
                " currency, customer_id, payment_method_id, card_fingerprint, created_at)"
                " VALUES (:id, :org_id, 1, 'open', 5, 'gbp', 'cus', 'pm', 'card', now())"
            ),
            {"id": attempt, "org_id": org_id},
        )
    processes = (
        handle.id,
        message.id,
        f"adjustment/{proposal.adjustment_id}",
        f"recharge/{org_id}",
    )
    assert (await sweep(world.temporal)).begun == 0  # they may be on their way
    await waited_for_hours(world.engine)
    assert (await sweep(world.temporal)).begun == len(processes)
    for workflow_id in processes:
        await eventually(partial(runs, world.temporal, workflow_id))
    assert (await sweep(world.temporal)).begun == 0
    for workflow_id in processes:
        await world.temporal.get_workflow_handle(workflow_id).terminate("a test")


async def test_a_row_that_nobody_can_read_stops_no_other_and_long_work_begins_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page has one row, and a run begins one process."""
    monkeypatch.setattr(activities.collection.sweep, "PAGE", 1)
    monkeypatch.setattr(workflows.shared.drain, "MOST_HANDED_OVER", 1)
    handles = []
    for _ in range(2):
        handles.append(await start_bill(world.temporal, ended_call(unique("assistant"))))
        await until_parked(handles[-1], CallState.UNKNOWN_ASSISTANT)
        await terminate(handles[-1])
    async with world.engine.begin() as connection:
        for call_id, facts in (("aaa_first", "[]"), ("zzz_last", '{"call_id": null}')):
            await connection.execute(
                text(
                    "INSERT INTO calls (call_id, state, facts, workflow_id)"
                    " VALUES (:call_id, 'unknown_duration', CAST(:facts AS jsonb), '')"
                ),
                {"call_id": call_id, "facts": facts},
            )
    await waited_for_hours(world.engine)
    handle = await world.temporal.start_workflow(
        SweepWaiting.run, id=unique("sweep-waiting"), task_queue=BILLING_QUEUE
    )
    first_run = (await handle.describe()).run_id
    done = await ended(handle)
    assert (done.begun, done.unreadable, done.looked_at) == (2, 2, 4)
    assert (await handle.describe()).run_id != first_run
    assert "4 that wait were looked at" in await page(handle)
    for one in handles:
        await eventually(partial(runs, world.temporal, one.id))
        await world.temporal.get_workflow_handle(one.id).terminate("a test")


async def test_it_happens_every_day(world: World) -> None:
    workflow_id = await triggered(world.temporal, "sweep-waiting")
    handle = world.temporal.get_workflow_handle(workflow_id, result_type=WaitingSweep)
    done: WaitingSweep = await ended(handle)
    assert replace(done, looked_at=0) == WaitingSweep(kind=None)
