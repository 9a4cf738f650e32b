"""What a provider does not know, however often it is asked, is asked for again by itself."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle

from billing.calls.call import CallState
from billing.inbox.webhook_event import PaymentHint
from tests.support.factories import (
    a_sender,
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    unique,
)
from tests.support.messages import a_message, report_statuses
from tests.support.parked_workflows import ended, start_bill, until_parked
from tests.support.recharged_payers import stripe_fails
from tests.support.stand_ins import StripeStandIn, TwilioStandIn, VapiStandIn
from tests.workflows.conftest import World
from workflows import settle_payment
from workflows.settle_payment import SettlePayment

Process = WorkflowHandle[Any, Any]
# As often as it is asked for before it parks.
TRIES = 3


async def heals(world: World, handle: Process, reason: str) -> Any:
    """Return its result once it was asked for by itself, and is there."""
    await until_parked(handle, reason)
    await world.let_pass(handle, timedelta(minutes=1))
    return await ended(handle)


async def test_a_call_that_vapi_knows_later_settles_by_itself(
    world: World, vapi: VapiStandIn
) -> None:
    call = ended_call(await an_assistant(world.engine, await an_organization(world.engine)))
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=404, times=TRIES)
    handle = await start_bill(world.temporal, replace(call, ended_at=None))
    assert (await heals(world, handle, "call_missing")).state is CallState.SETTLED


async def test_a_message_that_twilio_knows_later_settles_by_itself(
    world: World, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(world.engine, 1000)
    sid = await a_message(twilio, await a_sender(world.engine, org_id), "delivered")
    await twilio.misbehave(sid, kind="status", status=404, times=TRIES)
    await heals(world, await report_statuses(world.temporal, sid, "delivered"), "message_missing")
    assert await balance_of(world.engine, org_id) == 1000 - 5


async def test_a_payment_that_stripe_knows_later_is_credited_by_itself(
    world: World, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(world.engine)
    payment_id = await stripe.payment(org_id, 2500)
    path = f"/v1/payment_intents/{payment_id}"
    await stripe_fails(stripe, "GET", path, kind="status", status=404, times=TRIES)
    handle = await world.temporal.start_workflow(
        SettlePayment.run,
        PaymentHint(payment_id, unique("evt")),
        **settle_payment.start_options(payment_id),
    )
    await heals(world, handle, "payment_missing")
    assert await balance_of(world.engine, org_id) == 2500
