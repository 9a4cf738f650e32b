"""Calls that are parked because their organisation cannot pay them."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.calls.call import CallBill
from tests.support.factories import an_assistant, an_organization, ended_call
from tests.support.parked_workflows import start_bill
from tests.support.temporal_lists import until_listed
from workflows.bill_call import BillCall

Call = WorkflowHandle[BillCall, CallBill]


async def park_calls(
    temporal: Client, engine: AsyncEngine, count: int = 1
) -> tuple[str, list[Call]]:
    """Park calls of ten minutes (553 pence) of a new organisation; wait until they are listed."""
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    started = [await start_bill(temporal, ended_call(assistant, 600)) for _ in range(count)]
    await until_listed(temporal, org_id, count)
    return org_id, started
