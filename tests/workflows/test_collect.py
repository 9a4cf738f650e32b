"""Money has arrived: whatever waited for it is charged once, in order, however often it is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.client import Interceptor as ClientInterceptor
from temporalio.worker import (
    Interceptor,
    StartChildWorkflowInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

import activities.collection.collection
from billing.calls.call import CallBill, CallState
from billing.collection import CollectionRequest, CollectionResult
from billing.inbox.webhook_event import PaymentHint
from billing.ledger.entry import PostingCounts
from processes.namespace import prepare
from settings import Settings, platform_rules
from store.calls import calls
from tests.conftest import NewDatabase
from tests.support.eventually import eventually
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
    unique,
)
from tests.support.parked_workflows import ended, start_bill, until_parked
from tests.support.recharged_payers import a_payer
from tests.support.stand_ins import StripeStandIn
from wiring import Clients, connect_temporal
from worker import build_workers
from workflows import settle_payment
from workflows.bill_call import BillCall
from workflows.collect import Collect
from workflows.settle_payment import SettlePayment
from workflows.shared import collection_requests

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
        CollectionRequest(org_id),
        start_signal="again",
        start_signal_args=["a test"],
        **collection_requests.start_options(org_id),
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
    monkeypatch.setattr(activities.collection.collection, "WAITING_BATCH", 2)
    org_id, handles = await parked_calls(worker, engine, 5)
    await credit(engine, org_id, 5 * 56)
    collection = await tell(worker, org_id)
    assert await ended(collection) == CollectionResult(5, PostingCounts(applied=5))
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
    assert await ended(await tell(worker, org_id)) == CollectionResult(1, PostingCounts(applied=1))
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


class HoldsRecharges(ClientInterceptor, Interceptor):
    """Has a collection wait, with the recharge that it starts, until it is told to look again."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[WorkflowInboundInterceptor]:
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> workflow.ChildWorkflowHandle[Any, Any]:
        # The sandbox has imported a class of its own: only the name says what this is.
        collection: Any = workflow.instance()
        if type(collection).__name__ == Collect.__name__:
            await workflow.wait_condition(lambda: collection._look)
        return await super().start_child_workflow(input)


@pytest.fixture
async def holding(
    settings: Settings, clients: Clients, migrated_database: NewDatabase
) -> AsyncIterator[tuple[Client, AsyncEngine]]:
    engine = await migrated_database()
    there = {"temporal_namespace": unique("collections-held")}
    plain = await connect_temporal(settings.model_copy(update=there))
    await prepare(plain)
    config = plain.config()
    config["interceptors"] = [HoldsRecharges()]
    held = Client(**config)
    async with AsyncExitStack() as running:
        for one in build_workers(held, replace(clients, engine=engine), platform_rules(settings)):
            await running.enter_async_context(one)
        yield held, engine


async def test_what_it_is_told_while_it_starts_a_recharge_is_collected(
    holding: tuple[Client, AsyncEngine], stripe: StripeStandIn
) -> None:
    temporal, engine = holding
    payer = await a_payer(engine, stripe, 400)
    call = ended_call(await an_assistant(engine, payer.org_id), 3600)
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    handle = await tell(temporal, payer.org_id)

    async def has_looked() -> bool:
        events = (await handle.fetch_history()).events
        return any(one.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED for one in events)

    await eventually(has_looked)
    await credit(engine, payer.org_id, 10_000)
    await tell(temporal, payer.org_id)
    assert (await ended(handle)).postings.applied == 1
