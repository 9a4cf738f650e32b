"""Scenes in which work waits, where operators see it: for money, for Stripe, or for a person."""

import dataclasses
from datetime import timedelta
from http import HTTPStatus

from billing.calls.call import CallState
from billing.payments.payment import payment_workflow_id
from devstack.demo.check import becomes, exactly
from devstack.demo.figures import DONE, Figures, balance, parked, settled, signed_entries
from devstack.demo.traffic import PhoneCall
from devstack.demo.world import World

# Pence for a call of this length, from the tariff's published examples.
MINUTE, TEN_MINUTES, HALF_AN_HOUR, AN_HOUR = 56, 553, 1659, 3318
FAULTS = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.TOO_MANY_REQUESTS)


async def debt(world: World) -> Figures:
    """Show that calls over the debt limit wait, and settle when money arrives, oldest first."""
    tenant = world.initech
    first, small = (PhoneCall(tenant.assistant_id, seconds) for seconds in (1800, 600))
    younger = _ended_earlier(PhoneCall(tenant.assistant_id, 1800), minutes=1)
    older = _ended_earlier(PhoneCall(tenant.assistant_id, 3600), minutes=2)
    await world.tops_up(tenant, 2500)
    yield await balance(world, tenant, "topped up")
    await world.vapi.report_twice(first)
    tenant.due.append(-HALF_AN_HOUR)
    yield await balance(world, tenant, "a call that it can pay")
    for call in (younger, older):
        await world.vapi.report_twice(call)
        yield await parked(world, call, CallState.DEBT_LIMIT)
    await world.vapi.report_twice(small)
    tenant.due.append(-TEN_MINUTES)
    yield await balance(world, tenant, "a small call, charged meanwhile")
    await world.tops_up(tenant, 5000)
    tenant.due.extend((-AN_HOUR, -HALF_AN_HOUR))
    yield await balance(world, tenant, "a top-up arrives, both calls settle")
    yield exactly(
        "entries, the older call's first", tenant.due, await signed_entries(world, tenant)
    )
    for call in (older, younger):
        yield await settled(world, call)
    world.exhibits["the call that was parked"] = world.operator.page(older.workflow_id)


async def stripe_trouble(world: World) -> Figures:
    """Show that a fault at Stripe is retried until it is over, and the payment credited once."""
    await world.customer.webhooks_travel(paused=True)
    payment_id = await world.tops_up(world.acme, 3000)
    error, too_many = FAULTS
    await world.customer.reading_fails(payment_id, kind="status_after", status=error)
    await world.customer.reading_fails(payment_id, kind="status", status=too_many, retry_after=1)
    await world.customer.webhooks_travel(paused=False)
    yield await balance(world, world.acme, "credited in spite of Stripe's faults")
    yield exactly(
        "Stripe answered first", tuple(map(int, FAULTS)), await world.customer.failures(payment_id)
    )
    workflow_id = payment_workflow_id(payment_id)
    yield await becomes("the payment's workflow", DONE, lambda: world.operator.state(workflow_id))
    yield exactly("tries it took", len(FAULTS) + 1, await world.operator.tries(workflow_id))
    world.exhibits["the payment that was retried"] = world.operator.page(workflow_id)


async def reprocess(world: World) -> Figures:
    """Show that a call of unknown duration waits until a person has repaired the cause."""
    call = PhoneCall(world.acme.assistant_id, 60)
    await world.vapi.report_twice(call, omit=("startedAt", "durationSeconds"))
    yield await parked(world, call, "call_missing")
    await world.vapi.knows(call)
    await world.operator.reprocess(call.call_id, "the demo: Vapi shows the call now")
    world.acme.due.append(-MINUTE)
    yield await balance(world, world.acme, "reprocessed by a signal")
    yield await settled(world, call)
    world.exhibits["the call that was reprocessed"] = world.operator.page(call.workflow_id)


async def left_for_you(world: World) -> Figures:
    """Leave a call of an unregistered assistant parked, for the viewer to look at."""
    call = PhoneCall("assistant-of-nobody", 60)
    await world.vapi.report_twice(call)
    yield await parked(world, call, CallState.UNKNOWN_ASSISTANT)
    page = await world.operator.explanation(call.workflow_id)
    world.exhibits["a call that is parked now"] = page


def _ended_earlier(call: PhoneCall, minutes: int) -> PhoneCall:
    return dataclasses.replace(call, ended_at=call.ended_at - timedelta(minutes=minutes))
