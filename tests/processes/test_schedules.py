"""What happens by the clock, as operators see it: described, paused, triggered."""

import asyncio
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleOverlapPolicy,
    WorkflowHandle,
)

from billing.ledger.audit import Audit
from billing.reconciliation.reconciliation import GRACE, Report
from processes import schedules
from store.reconciliation import runs
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, balance_of
from tests.support.parked_workflows import ended
from tests.support.reconciled_days import calls_of_today
from tests.support.stand_ins import VapiStandIn
from workflows.watch_billing import ONE_WATCH


async def triggered(client: Client, schedule_id: str, *, at_once: bool = False) -> str:
    """Trigger a schedule as the UI does; answers with the workflow that it started.

    With `at_once` it is started beside one that runs.
    """
    handle = client.get_schedule_handle(schedule_id)
    before = (await handle.describe()).info.num_actions

    async def started() -> str | None:
        info = (await handle.describe()).info
        if info.num_actions == before:
            return None
        action = info.recent_actions[-1].action
        assert isinstance(action, ScheduleActionExecutionStartWorkflow)
        return action.workflow_id

    await handle.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL if at_once else None)
    workflow_id = await eventually(started)
    assert workflow_id is not None
    return workflow_id


async def test_reconciliation_happens_at_three_in_the_morning_utc(temporal: Client) -> None:
    described = await temporal.get_schedule_handle("reconcile-vapi").describe()
    policy = described.schedule.policy
    assert policy.overlap is ScheduleOverlapPolicy.SKIP
    assert policy.catchup_window is not None
    assert policy.catchup_window >= timedelta(days=3)
    assert not policy.pause_on_failure
    times = described.info.next_action_times
    assert {(time.hour, time.minute) for time in times} == {(3, 0)}
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(days=1)}


@pytest.mark.parametrize("schedule_id", sorted(schedules.schedules()))
async def test_an_operator_s_pause_outlives_a_deployment(
    temporal: Client, schedule_id: str
) -> None:
    handle = temporal.get_schedule_handle(schedule_id)
    before = (await handle.describe()).schedule.state
    await handle.pause(note="Ann: Vapi is being migrated")
    try:
        await schedules.set_up(temporal)
        state = (await handle.describe()).schedule.state
        assert (state.paused, state.note) == (True, "Ann: Vapi is being migrated")
    finally:
        await (handle.pause(note=before.note) if before.paused else handle.unpause())


async def test_a_triggered_reconciliation_heals_what_is_missing(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    [missed] = calls_of_today(await an_assistant(engine, org_id), 1)
    await vapi.lists(missed)
    workflow_id = await triggered(worker, "reconcile-vapi")
    handle = worker.get_workflow_handle(workflow_id, result_type=Report)
    report: Report = await ended(handle)
    assert report is not None
    assert report.run.daily
    assert report.run.window.until - report.run.window.since >= timedelta(hours=48)
    assert report.run.window.until == report.run.started_at - GRACE
    assert await balance_of(engine, org_id) == 1000 - 56
    async with engine.connect() as connection:
        assert await runs.covered_until(connection, report.run.source) == (report.run.window.until)


async def test_the_watch_has_no_gap_and_few_runs(temporal: Client) -> None:
    described = await temporal.get_schedule_handle("watch-billing").describe()
    assert described.schedule.policy.overlap is ScheduleOverlapPolicy.BUFFER_ONE
    assert described.schedule.spec.intervals[0].every == ONE_WATCH.rounds * ONE_WATCH.every


async def test_who_triggers_the_watch_has_it_look_at_once_though_it_runs(worker: Client) -> None:
    started = list[WorkflowHandle[Any, Any]]()
    for _ in range(2):
        workflow_id = await triggered(worker, "watch-billing", at_once=True)
        started.append(worker.get_workflow_handle(workflow_id))
        await eventually(partial(has_looked, started[-1]))
        await asyncio.sleep(1)  # their ids have the second in which they were asked for
    for handle in started:
        await handle.terminate("a test")


async def has_looked(handle: WorkflowHandle[Any, Any]) -> bool:
    """Whether a watch waits for its next round."""
    history = await handle.fetch_history()
    return any(one.event_type == EventType.EVENT_TYPE_TIMER_STARTED for one in history.events)


async def test_a_triggered_audit_looks_at_every_wallet(worker: Client, engine: AsyncEngine) -> None:
    await an_organization(engine, 100)
    workflow_id = await triggered(worker, "audit-ledger")
    handle = worker.get_workflow_handle(workflow_id, result_type=Audit)
    audit: Audit = await ended(handle)
    assert audit.wallets >= 1
    assert audit.entries >= 1
