"""Calls that wait for money, and the list that they are in."""

import json

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.call import CallBill
from tests.cli.commands import Ended, Env, callwallet
from tests.factories import an_assistant, an_organization, ended_call
from tests.waiting import eventually
from tests.workflows.parked import start_bill, until_parked
from workflows.bill_call import BillCall

Call = WorkflowHandle[BillCall, CallBill]


async def cannot_pay(
    temporal: Client, engine: AsyncEngine, count: int = 1
) -> tuple[str, list[Call]]:
    """An organisation without money, and calls of ten minutes that are parked: 553 pence each."""
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    started = [await start_bill(temporal, ended_call(assistant, 600)) for _ in range(count)]
    for handle in started:
        await until_parked(handle, "debt_limit")
    return org_id, started


async def in_list(env: Env, *asked: str, count: int) -> Ended:
    """What `parked list` prints once Temporal lists as many."""

    async def all_are_there() -> bool:
        found = await callwallet(env, "parked", "list", *asked, "--json")
        assert found.status == 0, found.said
        counts = [int(one["count"]) for one in json.loads(found.output)["totals"]]
        return sum(counts) == count

    await eventually(all_are_there)
    return await callwallet(env, "parked", "list", *asked)
