"""What a process is told while it ends is acted on: by it, for nobody else has heard of it."""

from dataclasses import replace
from typing import Any

from sqlalchemy import text
from temporalio.client import WorkflowHandle

from billing.calls.call import CallState
from billing.inbox.webhook_event import PaymentHint
from store.calls import call_records
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, as_api, ended_call, unique
from tests.support.inbox_events import accept, event_of, is_handled
from tests.support.messages import a_message, callback_of, report_statuses, seen_message
from tests.support.parked_workflows import attributes, ended, start_bill, tries, until_parked
from tests.support.stand_ins import StripeStandIn, TwilioStandIn
from tests.workflows.conftest import World
from tests.workflows.test_lost_wake_ups import WALLET, held_up
from workflows import settle_payment
from workflows.settle_payment import SettlePayment

Process = WorkflowHandle[Any, Any]
ANN = "Ann: agreed with the customer"


async def until_tried(handle: Process, activity: str) -> None:
    await eventually(lambda: tries(handle, activity))


async def test_better_facts_of_a_call_that_come_while_it_is_given_up_are_kept(
    world: World,
) -> None:
    org_id = await an_organization(world.engine, debt_limit_minor=0)
    call = ended_call(await an_assistant(world.engine, org_id))
    handle = await start_bill(world.temporal, call)
    await until_parked(handle, CallState.DEBT_LIMIT)
    async with held_up(world.engine, WALLET, org_id=org_id):
        await handle.signal("discard", ANN)
        await until_tried(handle, "discard_call")
        better = replace(as_api(call), ended_reason="pipeline-error")
        await handle.signal("news", better)
    assert (await ended(handle)).state is CallState.DISCARDED
    assert (await attributes(handle))[0] == "discarded"
    async with world.engine.connect() as connection:
        assert (await call_records.read(connection, call.call_id)).call == better


async def test_a_callback_that_comes_while_its_message_is_given_up_is_done_with(
    world: World, twilio: TwilioStandIn
) -> None:
    sid = await a_message(twilio, unique("sender"), "sent")
    handle = await report_statuses(world.temporal, sid, "sent")
    await until_parked(handle, "unknown_sender")
    late = seen_message(sid, "delivered")
    await accept(world.engine, callback_of(late, due_in_seconds=3600.0))
    row = "SELECT FROM messages WHERE sid = :sid FOR UPDATE"
    async with held_up(world.engine, row, sid=sid):
        await handle.signal("discard", ANN)
        await until_tried(handle, "discard_message")
        await handle.signal("news", late)
    await ended(handle)
    assert (await attributes(handle))[0] == "discarded"
    assert await is_handled(world.engine, callback_of(late))


async def test_an_event_that_comes_while_its_payment_is_given_up_is_looked_at(
    world: World, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment(unique("nobody"), 2500)
    handle = await world.temporal.start_workflow(
        SettlePayment.run,
        PaymentHint(payment_id, unique("evt")),
        **settle_payment.start_options(payment_id),
    )
    await until_parked(handle, "unknown_organization")
    late = PaymentHint(payment_id, unique("evt"))
    await accept(world.engine, replace(event_of(late), due_in_seconds=3600.0))
    async with world.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE discarded_payments IN ACCESS EXCLUSIVE MODE"))
        await handle.signal("discard", ANN)
        await until_tried(handle, "discard_payment")
        await handle.signal("look_again", late)
    await ended(handle)
    assert await tries(handle, "fetch_payment") == 2
    assert (await attributes(handle))[0] == "discarded"
    assert await is_handled(world.engine, event_of(late))
