"""A call whose report is lost heals itself: Vapi is asked, and it is charged once."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.calls.call import CallBill, CallState, EndedCall, call_workflow_id
from billing.calls.call_in_progress import OngoingCall
from billing.inbox.webhook_event import Drain
from processes.drains import nudge
from store.calls import call_records, calls_in_progress
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, balance_of, ended_call, keys_of
from tests.support.inbox_events import accept, drain, is_handled, report_of
from tests.support.parked_workflows import ended, page, until_parked
from tests.support.stand_ins import VapiStandIn
from tests.workflows.conftest import SkippingWorld


def process_of(temporal: Client, call: EndedCall) -> WorkflowHandle[Any, CallBill]:
    return temporal.get_workflow_handle(call_workflow_id(call.call_id), result_type=CallBill)


async def note(engine: AsyncEngine, call: EndedCall, due_in_seconds: float = -1.0) -> None:
    """Let Vapi have told that the call goes on; without more said, its report is overdue."""
    known = OngoingCall(call.call_id, call.assistant_id, call.phone_number_id, due_in_seconds)
    async with engine.begin() as connection:
        await calls_in_progress.note(connection, [known])


async def is_forgotten(engine: AsyncEngine, call: EndedCall) -> bool:
    query = text("SELECT count(*) FROM calls_in_progress WHERE call_id = :call_id")
    async with engine.connect() as connection:
        return not await connection.scalar(query, {"call_id": call.call_id})


async def state_of(engine: AsyncEngine, call: EndedCall) -> CallState:
    async with engine.connect() as connection:
        return (await call_records.read(connection, call.call_id)).state


async def a_call(engine: AsyncEngine, seconds: float = 61) -> tuple[str, EndedCall]:
    org_id = await an_organization(engine, 1000)
    return org_id, ended_call(await an_assistant(engine, org_id), seconds)


async def test_a_call_whose_report_never_came_is_settled_by_what_vapi_says(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine)
    await vapi.knows(call)
    await note(engine, call)
    await nudge(worker, Drain.INBOX)
    handle = process_of(worker, call)
    await eventually(lambda: balance_is(engine, org_id, 1000 - 57))
    assert (await ended(handle)).state is CallState.SETTLED
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_a_call_that_still_goes_on_is_asked_for_again_until_it_has_ended(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine)
    await vapi.knows(replace(call, ended_at=None), "in-progress")
    await note(engine, call)
    await nudge(worker, Drain.INBOX)
    handle = process_of(worker, call)
    await until_parked(handle, "call_not_ended")
    assert "asked again" in await page(handle)
    await vapi.knows(call)
    await handle.signal("reprocess", "Ann: it is over")
    assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 1000 - 57


async def test_a_lost_report_is_made_up_for_without_anybody_asking(
    sweeping: SkippingWorld, vapi: VapiStandIn
) -> None:
    """Time is skipped: the sweep finds it, and Vapi is asked until the call is over."""
    org_id, call = await a_call(sweeping.engine)
    await vapi.knows(replace(call, ended_at=None), "in-progress")
    await note(sweeping.engine, call, due_in_seconds=0.5)
    handle = process_of(sweeping.temporal, call)
    await eventually(lambda: is_asked_for(sweeping.engine, call))
    await vapi.knows(call)
    assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(sweeping.engine, org_id) == 1000 - 57


async def test_a_report_that_comes_late_changes_nothing(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine)
    await vapi.knows(call)
    await note(engine, call)
    await nudge(worker, Drain.INBOX)
    await eventually(lambda: balance_is(engine, org_id, 1000 - 57))
    await drain(worker, engine, report_of(call))
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    assert await balance_of(engine, org_id) == 1000 - 57


async def test_a_report_that_comes_while_vapi_is_asked_again_is_charged_once(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine)
    await vapi.knows(replace(call, ended_at=None), "in-progress")
    await note(engine, call)
    await nudge(worker, Drain.INBOX)
    handle = process_of(worker, call)
    await until_parked(handle, "call_not_ended")
    report = report_of(call)
    await drain(worker, engine, report)
    assert await state_of(engine, call) is CallState.SETTLED
    await vapi.knows(call)
    await handle.signal("reprocess", "Ann: just looking")
    assert (await ended(handle)).state is CallState.SETTLED
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    assert await balance_of(engine, org_id) == 1000 - 57


async def test_a_call_whose_report_came_is_forgotten_and_vapi_is_not_asked(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, call = await a_call(engine)
    await note(engine, call, due_in_seconds=0.5)
    await accept(engine, report_of(call))
    await nudge(worker, Drain.INBOX)
    await eventually(lambda: is_handled(engine, report_of(call)))
    await eventually(lambda: nudged_and_forgotten(worker, engine, call))
    assert await balance_of(engine, org_id) == 1000 - 57
    assert (await state_of(engine, call)) is CallState.SETTLED


async def is_asked_for(engine: AsyncEngine, call: EndedCall) -> bool:
    """Whether a process has looked at it, and found that nothing is known of its end."""
    query = text("SELECT state FROM calls WHERE call_id = :call_id")
    async with engine.connect() as connection:
        state = await connection.scalar(query, {"call_id": call.call_id})
    return bool(state == CallState.UNKNOWN_DURATION)


async def balance_is(engine: AsyncEngine, org_id: str, expected_minor: int) -> bool:
    return await balance_of(engine, org_id) == expected_minor


async def nudged_and_forgotten(worker: Client, engine: AsyncEngine, call: EndedCall) -> bool:
    await nudge(worker, Drain.INBOX)
    return await is_forgotten(engine, call)
