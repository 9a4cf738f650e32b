"""The views that docs/operations.md links to: the UI takes each, and it lists what it says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from activities.parking.visibility import Visibility
from billing.calls.call import EndedCall
from billing.parking.parked_work import ParkedFilter
from devstack.stack import Stack
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, ended_call, unique
from tests.support.failing_workflow import Failing
from tests.support.operations_document import MOMENT, ORGANIZATION, documented_views
from tests.support.parked_workflows import calls_that_wait, start_bill, until_parked
from tests.support.stand_ins import VapiStandIn
from tests.support.temporal_lists import until_listed
from tests.support.temporal_ui import TemporalUi


async def parked(temporal: Client, call: EndedCall, reason: str) -> str:
    """Bill a call that parks; answers with its workflow's id."""
    handle = await start_bill(temporal, call)
    await until_parked(handle, reason)
    return handle.id


async def parked_a_while_ago(temporal: Client, engine: AsyncEngine) -> tuple[str, str]:
    """Park a call of somebody else's; answers with its workflow's id, and a moment after that."""
    org_id, [handle] = await calls_that_wait(temporal, engine, 1)
    [work] = (await Visibility(temporal).parked(ParkedFilter(org_id), 2)).items
    moment = work.since + timedelta(milliseconds=1)
    return handle.id, f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"


@asynccontextmanager
async def a_bug(temporal: Client) -> AsyncIterator[str]:
    """A process whose code fails again and again, until a person ends it; its id."""
    queue = unique("failing")
    async with Worker(temporal, task_queue=queue, workflows=[Failing]):
        failing = await temporal.start_workflow(
            Failing.run, id=queue, task_queue=queue, task_timeout=timedelta(seconds=1)
        )
        try:
            yield failing.id
        finally:
            await failing.terminate()


async def is_told(temporal: Client, workflow_id: str, *, wanted: bool = True) -> None:
    """Wait until Temporal says of a process that its code fails, or says so no more."""

    async def is_so() -> bool:
        problems = await Visibility(temporal).problems(100)
        return (workflow_id in problems.workflow_ids) is wanted

    await eventually(is_so)


async def three_that_wait(
    temporal: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> tuple[str, str, str, str]:
    """An organisation with work for the customer, for a person, and for nobody; with their ids."""
    org_id = await an_organization(engine, debt_limit_minor=0)
    dear = ended_call(await an_assistant(engine, org_id))
    unheard_of, unreadable = (replace(dear, call_id=unique("call"), ended_at=None) for _ in "12")
    await vapi.misbehave(unreadable.call_id, kind="status", status=500, times=None)
    poor, missing, fault = await asyncio.gather(
        parked(temporal, dear, "debt_limit"),
        parked(temporal, unheard_of, "call_missing"),
        parked(temporal, unreadable, "fault"),
    )
    await until_listed(temporal, org_id, 3)
    return org_id, poor, missing, fault


async def test_every_documented_view_opens_and_lists_what_it_says(
    ui: TemporalUi, stack: Stack, worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    views = documented_views()
    bugs = views["Bugs"]
    async with a_bug(worker) as bug:
        old, moment = await parked_a_while_ago(worker, engine)
        org_id, poor, missing, fault = await three_that_wait(worker, engine, vapi)
        await is_told(worker, bug)
        wanted = {
            views["Parked"]: {old, poor, missing, fault},
            views["Needs a person"]: {missing},
            views["Faults"]: {fault},
            views["One organisation's"].with_(ORGANIZATION, org_id): {poor, missing, fault},
            views["Parked for more than a day"].with_(MOMENT, moment): {old},
            bugs: {bug},
        }
        assert len(wanted) == len(views), "a view that nobody looks at"
        ours = set.union(*wanted.values())
        for view, ids in wanted.items():
            await ui.open_list(view.at(stack.temporal.ui_url), view.name)
            assert await ui.listed() & ours == ids, view.name
    await is_told(worker, bug, wanted=False)
    await ui.open_list(bugs.at(stack.temporal.ui_url), bugs.name)
    assert bug not in await ui.listed()
