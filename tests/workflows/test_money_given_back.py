"""Money that is given back, in whatever way, pays what waits; nobody else has to say so."""

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from billing.calls.call import CallBill, CallState
from tests.support.eventually import eventually
from tests.support.factories import (
    a_sender,
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    ended_call,
    keys_of,
)
from tests.support.inbox_events import drain, report_of
from tests.support.messages import (
    a_message,
    callback_of,
    drain_messages_of,
    is_charged,
    report_statuses,
    seen_message,
)
from tests.support.parked_workflows import ended, start_bill, until_parked
from tests.support.stand_ins import TwilioStandIn
from workflows import bill_call
from workflows.bill_call import BillCall

Call = WorkflowHandle[BillCall, CallBill]


async def a_call_that_waits(temporal: Client, engine: AsyncEngine, org_id: str) -> Call:
    """A minute: 56 pence, for which there is no money."""
    call = ended_call(await an_assistant(engine, org_id))
    handle = await start_bill(temporal, call)
    await until_parked(handle, "debt_limit")
    return handle


async def test_a_message_that_is_given_back_pays_the_call_that_waits(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 56, debt_limit_minor=0)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    message = await report_statuses(worker, sid, "sent")
    await eventually(lambda: is_charged(engine, sid))
    waits = await a_call_that_waits(worker, engine, org_id)
    await twilio.becomes(sid, "failed", drop=True, error_code=30008)
    await report_statuses(worker, sid, "failed")
    await ended(message)
    assert (await ended(waits)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 0


async def test_a_message_that_the_drain_gives_back_pays_the_call_that_waits(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 56, debt_limit_minor=0)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    await drain_messages_of(worker, engine, callback_of(seen_message(sid, "sent")))
    waits = await a_call_that_waits(worker, engine, org_id)
    await twilio.becomes(sid, "failed", drop=True, error_code=30008)
    await drain_messages_of(worker, engine, callback_of(seen_message(sid, "failed")))
    assert (await ended(waits)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 0


async def test_a_correction_pays_the_call_that_waits(worker: Client, engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 553, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id), 600)
    assert (await ended(await start_bill(worker, call))).state is CallState.SETTLED
    waits = await a_call_that_waits(worker, engine, org_id)
    shorter = as_api(ended_call(call.assistant_id, 60, call_id=call.call_id))
    options = bill_call.start_options(shorter)
    options["id_reuse_policy"] = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    await worker.execute_workflow(BillCall.run, shorter, **options)
    assert (await ended(waits)).state is CallState.SETTLED
    key = f"call:{call.call_id}"
    assert await keys_of(engine, org_id) == [key, f"{key}:correction:1", f"call:{waits.id[5:]}"]


async def test_a_correction_that_the_drain_makes_pays_the_call_that_waits(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, 553, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id), 600)
    assert (await ended(await start_bill(worker, call))).state is CallState.SETTLED
    waits = await a_call_that_waits(worker, engine, org_id)
    await drain(worker, engine, report_of(as_api(ended_call(None, 60, call_id=call.call_id))))
    assert (await ended(waits)).state is CallState.SETTLED
