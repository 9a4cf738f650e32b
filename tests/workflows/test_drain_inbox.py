"""The batch lane as it runs: what is settled in it, what leaves it, and what it finds again."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from billing.call import CallState, call_workflow_id
from billing.webhook import PaymentHint
from store import calls
from tests.factories import (
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    unique,
)
from tests.stand_ins import StripeStandIn
from tests.waiting import eventually
from tests.workflows.parked import ended, reprocess, start_bill, until_parked
from tests.workflows.webhooks import (
    accept,
    drain,
    event_of,
    is_handed_over,
    is_handled,
    report_of,
)
from workflows import drain_inbox
from workflows.namespace import nudge_drain


async def test_a_nudge_settles_what_is_due_without_workflows_of_its_own(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, 10_000)
    assistant = await an_assistant(engine, org_id)
    ended = [ended_call(assistant) for _ in range(30)]
    await drain(worker, engine, *(report_of(call) for call in ended))
    assert await balance_of(engine, org_id) == 10_000 - 30 * 56
    async with engine.connect() as connection:
        record = await calls.read(connection, ended[0].call_id)
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
    await nudge_drain(worker)
    await eventually(lambda: is_handed_over(engine, report))
    await credit(engine, org_id, 1000)
    assert await reprocess(handle, "Ann: the money is there") == "settled"
    assert await is_handled(engine, report)
    assert await balance_of(engine, org_id) == 1000 - 553


async def test_a_poison_row_parks_and_does_not_hold_up_the_others(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    good = ended_call(assistant)
    two_centuries = replace(
        ended_call(assistant),
        started_at=datetime(2021, 1, 1, tzinfo=UTC),
        ended_at=datetime(2199, 1, 1, tzinfo=UTC),
    )
    await accept(engine, report_of(two_centuries))
    await drain(worker, engine, report_of(good))
    assert await balance_of(engine, org_id) == 1000 - 56
    poison = worker.get_workflow_handle(call_workflow_id(two_centuries.call_id))
    await until_parked(poison, "fault")
