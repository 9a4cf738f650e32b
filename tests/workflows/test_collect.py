"""Money has arrived: whatever waited for it is charged once, in order, however often it is told."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

import activities.collecting
from billing.call import CallBill, CallState, Collection, CollectionResult
from billing.ledger import Tally
from billing.webhook import PaymentHint
from store import calls
from tests.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
    unique,
)
from tests.stand_ins import StripeStandIn
from tests.workflows.parked import ended, start_bill, until_parked
from workflows import collect, settle_payment
from workflows.bill_call import BillCall
from workflows.collect import Collect
from workflows.settle_payment import SettlePayment

_SIGNALLED = EventType.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED

Call = WorkflowHandle[BillCall, CallBill]


async def parked_calls(worker: Client, engine: AsyncEngine, count: int) -> tuple[str, list[Call]]:
    """An organisation without credit, and calls of a minute (56 pence) that wait, oldest first."""
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    ended = [
        ended_call(assistant, ended_at=NOON + timedelta(minutes=minute)) for minute in range(count)
    ]
    handles = [await start_bill(worker, call) for call in reversed(ended)]
    for handle in handles:
        await until_parked(handle, "debt_limit")
    return org_id, handles[::-1]


async def tell(worker: Client, org_id: str) -> WorkflowHandle[Collect, CollectionResult]:
    """Have what waits looked at after this moment, as the API does."""
    return await worker.start_workflow(
        Collect.run,
        Collection(org_id),
        start_signal="again",
        start_signal_args=["a test"],
        **collect.start_options(org_id),
    )


async def test_being_told_many_times_at_once_charges_each_call_once_and_in_order(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handles = await parked_calls(worker, engine, 5)
    await credit(engine, org_id, 5 * 56)
    for collection in await asyncio.gather(*(tell(worker, org_id) for _ in range(10))):
        await ended(collection)
    for handle in handles:
        assert (await ended(handle)).state is CallState.SETTLED
    assert await keys_of(engine, org_id) == [
        handle.id.replace("call/", "call:") for handle in handles
    ]
    assert await balance_of(engine, org_id) == 0


async def test_everything_is_charged_before_anybody_is_told(
    worker: Client, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.collecting, "WAITING_BATCH", 2)
    org_id, handles = await parked_calls(worker, engine, 5)
    await credit(engine, org_id, 5 * 56)
    collection = await tell(worker, org_id)
    assert await ended(collection) == CollectionResult(5, Tally(applied=5))
    charged, told = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED, _SIGNALLED
    steps = [
        event.event_type
        async for event in collection.fetch_history_events()
        if event.event_type in (charged, told)
    ]
    assert steps == [charged] * 3 + [told] * 5
    for handle in handles:
        assert (await ended(handle)).state is CallState.SETTLED


async def test_what_waits_without_a_workflow_is_charged_all_the_same(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id))
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    await credit(engine, org_id, 56)
    assert await ended(await tell(worker, org_id)) == CollectionResult(1, Tally(applied=1))
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_payments_at_once_settle_everything_that_they_pay_for(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id, handles = await parked_calls(worker, engine, 4)
    payments = [await stripe.payment(org_id, 2 * 56) for _ in range(2)]
    settling = [
        await worker.start_workflow(
            SettlePayment.run,
            PaymentHint(payment_id, unique("evt")),
            **settle_payment.start_options(payment_id),
        )
        for payment_id in payments
    ]
    for settlement in settling:
        await ended(settlement)
    for handle in handles:
        assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 0
