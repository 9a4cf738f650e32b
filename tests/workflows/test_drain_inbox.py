"""The batch lane as it runs: what is settled in it, what leaves it, and what it finds again."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from billing.calls.call import CallState, call_workflow_id
from billing.inbox.webhook_event import Drain, PaymentHint
from processes.drains import nudge
from store.calls import call_records
from tests.support.eventually import eventually
from tests.support.factories import (
    a_poisonous_assistant,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    unique,
)
from tests.support.inbox_events import (
    accept,
    drain,
    event_of,
    is_handed_over,
    is_handled,
    report_of,
)
from tests.support.parked_workflows import ended, reprocess, start_bill, until_parked
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from workflows import drain_inbox


async def test_a_nudge_settles_what_is_due_without_workflows_of_its_own(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, 10_000)
    assistant = await an_assistant(engine, org_id)
    ended = [ended_call(assistant) for _ in range(30)]
    await drain(worker, engine, *(report_of(call) for call in ended))
    assert await balance_of(engine, org_id) == 10_000 - 30 * 56
    async with engine.connect() as connection:
        record = await call_records.read(connection, ended[0].call_id)
    assert (record.state, record.workflow_id) == (CallState.SETTLED, drain_inbox.WORKFLOW_ID)
    with pytest.raises(RPCError) as absent:
        await worker.get_workflow_handle(call_workflow_id(ended[0].call_id)).describe()
    assert absent.value.status is RPCStatusCode.NOT_FOUND


async def test_a_call_that_a_batch_cannot_settle_parks_in_a_workflow_of_its_own(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    payable, dear = ended_call(assistant), ended_call(assistant, 600)
    await drain(worker, engine, report_of(payable), report_of(dear))
    handle = worker.get_workflow_handle(call_workflow_id(dear.call_id))
    assert await until_parked(handle, "debt_limit") == ("parked", "debt_limit", org_id, 553)
    assert await balance_of(engine, org_id) == -56


async def test_a_payment_always_has_a_workflow_of_its_own(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    await drain(worker, engine, event_of(PaymentHint(payment_id, unique("evt"))))
    settled = await ended(worker.get_workflow_handle(f"payment/{payment_id}"))
    assert settled is not None
    assert await balance_of(engine, org_id) == 2500


async def test_a_report_of_a_call_that_is_parked_already_is_left_to_its_workflow(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 600)
    handle = await start_bill(worker, call)
    await until_parked(handle, "debt_limit")
    report = report_of(call)
    await accept(engine, report)
    await nudge(worker, Drain.INBOX)
    await eventually(lambda: is_handed_over(engine, report))
    await credit(engine, org_id, 1000)
    assert (await reprocess(handle, "Ann: the money is there")).state == "settled"
    assert await is_handled(engine, report)
    assert await balance_of(engine, org_id) == 1000 - 553


async def test_a_poison_row_parks_and_does_not_hold_up_the_others(world: World) -> None:
    """In an inbox of its own: what waits there would be in every later batch."""
    temporal, engine = world.temporal, world.engine
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    good = ended_call(assistant)
    refused = ended_call(await a_poisonous_assistant(engine))
    await accept(engine, report_of(refused))
    await drain(temporal, engine, report_of(good))
    assert await balance_of(engine, org_id) == 1000 - 56
    poison = temporal.get_workflow_handle(call_workflow_id(refused.call_id))
    await until_parked(poison, "fault")
