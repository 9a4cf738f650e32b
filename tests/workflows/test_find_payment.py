"""A thin event's process: it finds the payment of the object that the event names."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from billing.inbox.lookup import ReceivedFilter
from billing.inbox.webhook_event import ObjectHint
from billing.payments.checkout import CheckoutStatus
from processes import webhook_events
from store.inbox import lookup
from tests.support.checkouts import start, top_up
from tests.support.eventually import eventually
from tests.support.factories import an_organization, balance_of, keys_of, unique
from tests.support.inbox_events import accept, drain, is_handled, thin_event_of
from tests.support.parked_workflows import attributes, discard, ended, until_parked
from tests.support.recharged_payers import stripe_fails
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from workflows.find_payment import FindPayment

UNHEARD = 3600.0
Process = WorkflowHandle[FindPayment, str | None]


def about(object_type: str, object_id: str) -> ObjectHint:
    return ObjectHint(object_type, object_id, unique("evt_test"))


async def hear(temporal: Client, engine: AsyncEngine, hint: ObjectHint) -> Process:
    """Hear of a thin event as the API does, without the drain."""
    event = thin_event_of(hint, UNHEARD)
    await accept(engine, event)
    await webhook_events.start(temporal, event)
    return temporal.get_workflow_handle_for(FindPayment.run, hint.workflow_id)


async def charge_of(stripe: StripeStandIn, payment_id: str) -> str:
    answer = await stripe.http.get(f"/v1/payment_intents/{payment_id}")
    return str(answer.raise_for_status().json()["latest_charge"])


async def test_what_was_never_started_is_found_by_the_drain(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    hint = about("charge", await charge_of(stripe, payment_id))
    await drain(worker, engine, thin_event_of(hint))
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit"]
    shown = worker.get_workflow_handle(hint.workflow_id)
    assert await ended(shown) == payment_id
    assert (await attributes(shown))[0] == "settled"


async def test_an_object_that_stripe_knows_later_leads_to_its_payment_by_itself(
    world: World, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(world.engine)
    payment_id = await stripe.payment(org_id, 2500)
    hint = about("charge", await charge_of(stripe, payment_id))
    path = f"/v1/charges/{hint.object_id}"
    await stripe_fails(stripe, "GET", path, kind="status", status=404, times=3)
    handle = await hear(world.temporal, world.engine, hint)
    await until_parked(handle, "payment_missing")
    assert await is_handled(world.engine, thin_event_of(hint))
    await world.let_pass(handle, timedelta(minutes=1))
    assert await ended(handle) == payment_id

    async def is_credited() -> bool:
        return await balance_of(world.engine, org_id) == 2500

    await eventually(is_credited)


@pytest.mark.parametrize("object_type", ["charge", "refund", "dispute", "checkout.session"])
async def test_an_object_that_stripe_does_not_know_waits_with_a_reason_and_can_be_given_up(
    worker: Client, engine: AsyncEngine, object_type: str
) -> None:
    hint = about(object_type, unique("gone"))
    handle = await hear(worker, engine, hint)
    await until_parked(handle, "payment_missing")
    assert await is_handled(engine, thin_event_of(hint))
    async with engine.connect() as connection:
        page = await lookup.page(connection, ReceivedFilter(key=hint.key), None, 1)
        assert (await lookup.read(connection, page.items[0].event_id)).workflow_id == handle.id
    await discard(handle, "Ann: it was of a test")
    assert await ended(handle) is None
    assert (await attributes(handle))[0] == "discarded"


async def test_what_is_given_up_is_done_with_though_its_event_was_not_taken_over_before(
    worker: Client, engine: AsyncEngine
) -> None:
    """PostgreSQL was away. The drain would begin it again, and it would park again."""
    hint = about("charge", unique("gone"))
    event = thin_event_of(hint, UNHEARD)
    await webhook_events.start(worker, event)
    handle: Process = worker.get_workflow_handle_for(FindPayment.run, hint.workflow_id)
    await until_parked(handle, "payment_missing")
    await accept(engine, event)
    await discard(handle, "Ann: it was of a test")
    assert await ended(handle) is None
    assert await is_handled(engine, event)


async def test_an_object_of_no_payment_is_done_with(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    """An expired session; its checkout hears of it, as of any other event about it."""
    org_id = await an_organization(engine)
    checkout = await start(worker, top_up(org_id))
    [session] = await eventually(lambda: stripe.sessions(org_id))
    await stripe.expire(session["id"])
    hint = about("checkout.session", session["id"])
    assert await ended(await hear(worker, engine, hint)) is None
    assert await is_handled(engine, thin_event_of(hint))
    closed = await ended(checkout)
    assert closed is not None
    assert closed.status is CheckoutStatus.EXPIRED


async def test_a_payment_that_is_none_of_ours_moves_nothing(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500, type="subscription")
    refund_id = await stripe.refund(payment_id, amount=900)
    hint = about("refund", refund_id)
    await drain(worker, engine, thin_event_of(hint))
    assert await keys_of(engine, org_id) == []
    for workflow_id in (hint.workflow_id, f"payment/{payment_id}"):
        handle = worker.get_workflow_handle(workflow_id)
        await ended(handle)
        assert (await attributes(handle))[0] == "settled"
