"""Start the nightly run by its real schedule, as an operator triggers it."""

from datetime import timedelta

from sqlalchemy import text
from temporalio.client import (
    ScheduleActionExecutionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    WorkflowHandle,
)

from billing.reconciliation.reconciliation import Report
from tests.support.eventually import eventually
from tests.support.world import World
from workflows.reconcile_vapi import ReconcileVapi

Night = WorkflowHandle[ReconcileVapi, Report | None]


async def begin(world: World) -> Night:
    """Trigger the schedule; return the run that it has started.

    Wait until the schedule knows that the former run is over: before, it would skip this one.
    """
    schedule = world.temporal.get_schedule_handle("reconcile-vapi")
    await eventually(lambda: _is_idle(schedule))
    former = _last_started(await schedule.describe())
    await schedule.trigger()

    async def news() -> ScheduleActionExecutionStartWorkflow | None:
        last = _last_started(await schedule.describe())
        return last if last != former else None

    started = await eventually(news)
    assert started is not None
    return world.temporal.get_workflow_handle_for(
        ReconcileVapi.run, started.workflow_id, run_id=started.first_execution_run_id
    )


async def end(night: Night) -> Report:
    report = await night.result()
    assert report is not None
    return report


async def run(world: World) -> Report:
    """Run a whole night; return its report."""
    return await end(await begin(world))


async def move_back(world: World, how_long: timedelta) -> None:
    """Move all runs so far into the past by this much."""
    columns = ("since", "until", "started_at", "finished_at")
    moved = ", ".join(f"{column} = {column} - :how_long" for column in columns)
    async with world.engine.begin() as connection:
        await connection.execute(
            text(f"UPDATE reconciliation_runs SET {moved}"),  # noqa: S608
            {"how_long": how_long},
        )


async def _is_idle(schedule: ScheduleHandle) -> bool:
    return not (await schedule.describe()).info.running_actions


def _last_started(schedule: ScheduleDescription) -> ScheduleActionExecutionStartWorkflow | None:
    actions = [one.action for one in schedule.info.recent_actions]
    last = actions[-1] if actions else None
    assert last is None or isinstance(last, ScheduleActionExecutionStartWorkflow)
    return last
