"""Calls that wait for money, and that Temporal lists."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from activities.visibility import Visibility
from billing.call import CallBill
from billing.parked import ParkedFilter
from tests.factories import an_assistant, an_organization, ended_call
from tests.waiting import eventually
from tests.workflows.parked import start_bill
from workflows.bill_call import BillCall

Call = WorkflowHandle[BillCall, CallBill]


async def cannot_pay(
    temporal: Client, engine: AsyncEngine, count: int = 1
) -> tuple[str, list[Call]]:
    """An organisation without money, and parked calls of it: ten minutes, 553 pence each."""
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    started = [await start_bill(temporal, ended_call(assistant, 600)) for _ in range(count)]

    async def all_are_listed() -> bool:
        return await Visibility(temporal).count(ParkedFilter(org_id)) == count

    await eventually(all_are_listed)
    return org_id, started
