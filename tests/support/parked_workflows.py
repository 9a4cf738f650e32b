"""See processes as an operator sees them: search attributes, page and result, and decide."""

import asyncio
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from activities.temporal.search_attributes import AMOUNT_MINOR, BILLING_STATE, ORG_ID, PARK_REASON
from billing.calls.call import CallBill, EndedCall
from billing.collection import CollectionRequest
from billing.parking.parked_work import DecisionRecord
from store import parking
from tests.support.eventually import LONGEST_SECONDS, eventually
from tests.support.factories import an_assistant, an_organization, ended_call
from tests.support.temporal_lists import until_listed
from workflows import bill_call
from workflows.bill_call import BillCall
from workflows.collect import Collect
from workflows.shared import collection_requests
from workflows.shared.decision_answer import DecisionAnswer

Result = TypeVar("Result")
Shown = tuple[str | None, str | None, str | None, int | None]


async def start_bill(temporal: Client, call: EndedCall) -> WorkflowHandle[BillCall, CallBill]:
    return await temporal.start_workflow(BillCall.run, call, **bill_call.start_options(call))


async def attributes(handle: WorkflowHandle[Any, Any]) -> Shown:
    """Read BillingState, ParkReason, OrgId and AmountMinor."""
    found = (await handle.describe()).typed_search_attributes
    return (
        found.get(BILLING_STATE),
        found.get(PARK_REASON),
        found.get(ORG_ID),
        found.get(AMOUNT_MINOR),
    )


async def until_parked(handle: WorkflowHandle[Any, Any], reason: str) -> Shown:
    """Wait until it runs and is parked for this reason; return its search attributes."""

    async def parked() -> Shown | None:
        try:
            shown = await attributes(handle)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return shown if shown[:2] == ("parked", reason) else None

    found = await eventually(parked)
    assert found is not None
    return found


async def page(handle: WorkflowHandle[Any, Any]) -> str:
    """Read what the Temporal UI shows as current details."""
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    details: str = metadata.current_details
    return details


async def ended(handle: WorkflowHandle[Any, Result]) -> Result:
    """Wait for its result; return it. Raise AssertionError with its page if it does not end."""
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            return await handle.result()
    except TimeoutError:
        shown = await page(handle)
    raise AssertionError(f"{handle.id} has not ended. {shown}")


async def tries(handle: WorkflowHandle[Any, Any], activity: str) -> int:
    """Count how often a workflow has scheduled this activity; retries do not count."""
    events = (await handle.fetch_history()).events
    return sum(
        one.activity_task_scheduled_event_attributes.activity_type.name == activity
        for one in events
    )


async def reprocess(handle: WorkflowHandle[Any, Any], who_and_why: str) -> DecisionAnswer:
    """Reprocess it by its update; return the answer.

    By name: the SDK's types take the answer of a named update for a coroutine.
    """
    return await _decide(handle, "reprocess", who_and_why)


async def discard(handle: WorkflowHandle[Any, Any], who_and_why: str) -> DecisionAnswer:
    return await _decide(handle, "discard", who_and_why)


async def _decide(
    handle: WorkflowHandle[Any, Any], decision: str, who_and_why: str
) -> DecisionAnswer:
    async with asyncio.timeout(LONGEST_SECONDS):
        while True:
            try:
                answer: DecisionAnswer = await handle.execute_update(
                    decision, who_and_why, result_type=DecisionAnswer
                )
            except RPCError as error:
                # Something else happened to it at the same moment, so nothing was done yet.
                if error.status is not RPCStatusCode.FAILED_PRECONDITION:
                    raise
            else:
                return answer


async def collect_all(worker: Client, org_id: str) -> int:
    """Charge what waits and can be paid; return how many calls no longer wait."""
    options = collection_requests.start_options(org_id)
    collecting = await worker.start_workflow(Collect.run, CollectionRequest(org_id), **options)
    return (await ended(collecting)).told


async def calls_that_wait(
    temporal: Client, engine: AsyncEngine, count: int
) -> tuple[str, list[WorkflowHandle[BillCall, CallBill]]]:
    """Park calls of a minute (56 pence) of a new organisation; wait until they are listed."""
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    handles = [await start_bill(temporal, ended_call(assistant)) for _ in range(count)]
    await until_listed(temporal, org_id, count)
    return org_id, handles


async def recorded(engine: AsyncEngine, workflow_id: str) -> list[DecisionRecord]:
    """Read the decisions about a workflow, oldest first."""
    async with engine.connect() as connection:
        return (await parking.page(connection, None, 1000, workflow_id=workflow_id))[::-1]
