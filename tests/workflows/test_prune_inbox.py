"""What is not kept for ever goes by itself, every day, and whoever looks sees how far it is."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

import activities.inbox.retention
from billing.inbox.retention import Sweep
from tests.processes.test_schedules import triggered
from tests.support.factories import ended_call, unique
from tests.support.inbox_events import accept, report_of
from tests.support.parked_workflows import ended, page, tries
from tests.workflows.conftest import World


async def heard_two_months_ago(engine: AsyncEngine, count: int) -> None:
    """Keep reports that are done with."""
    reports = [report_of(ended_call(unique("assistant"), 60)) for _ in range(count)]
    await accept(engine, *reports)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE webhook_events SET received_at = now() - interval '60 days',"
                " status = 'handled', handled_at = now() WHERE key = ANY(:keys)"
            ),
            {"keys": [one.key for one in reports]},
        )


async def bodies(engine: AsyncEngine) -> int:
    query = text("SELECT count(*) FROM webhook_events WHERE body_removed_at IS NULL")
    async with engine.connect() as connection:
        return int(await connection.scalar(query) or 0)


async def test_it_happens_at_half_past_four_utc_and_is_caught_up_after_days(
    temporal: Client,
) -> None:
    described = await temporal.get_schedule_handle("prune-inbox").describe()
    catchup = described.schedule.policy.catchup_window
    assert catchup is not None
    assert catchup >= timedelta(days=3)
    times = described.info.next_action_times
    assert {(time.hour, time.minute) for time in times} == {(4, 30)}
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(days=1)}


async def test_old_bodies_go_in_many_steps_and_the_next_run_begins_where_this_one_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.inbox.retention, "BATCH", 2)
    monkeypatch.setattr(activities.inbox.retention, "BATCHES", 2)
    await heard_two_months_ago(world.engine, 9)
    workflow_id = await triggered(world.temporal, "prune-inbox")
    handle = world.temporal.get_workflow_handle(workflow_id, result_type=Sweep)
    first: Sweep = await ended(handle)
    assert (first.emptied, first.left, await bodies(world.engine)) == (9, 0, 0)
    assert await tries(handle, "empty_bodies") == 3
    assert (await page(handle)).startswith("## 9 bodies removed\n9 events looked at")

    await heard_two_months_ago(world.engine, 1)
    workflow_id = await triggered(world.temporal, "prune-inbox")
    handle = world.temporal.get_workflow_handle(workflow_id, result_type=Sweep)
    second: Sweep = await ended(handle)
    is_whole = datetime.fromtimestamp(time.time(), UTC).day == 1
    assert (second.emptied, second.looked_at) == (1, 10 if is_whole else 1)
    assert (await bodies(world.engine), second.clean) == (0, first.clean + 1)
