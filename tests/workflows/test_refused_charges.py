"""A request that Stripe refuses is our fault: operators hear of it, and no customer pays for it."""

from datetime import timedelta

import pytest

from billing.recharges.attempt import AttemptState
from tests.support.eventually import eventually
from tests.support.factories import balance_of
from tests.support.parked_workflows import page, until_parked
from tests.support.recharge_alerts import told
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    attempts_of,
    charges_fail,
    payments,
    recharge,
    standing_of,
    states_of,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World

OPEN, SUCCEEDED, ABANDONED = AttemptState.OPEN, AttemptState.SUCCEEDED, AttemptState.ABANDONED
REFUSED = "Stripe refuses to charge a saved card: the request is at fault"


async def key_is_taken(stripe: StripeStandIn, payer: Payer) -> None:
    """Let the key of the payer's first attempt stand for another request, as after a bad deploy."""
    used = {"Idempotency-Key": f"recharge-{payer.org_id}-1"}
    (await stripe.http.post("/v1/customers", headers=used)).raise_for_status()


async def refuse(stripe: StripeStandIn, payer: Payer, how: str) -> None:
    if how == "invalid":
        await charges_fail(stripe, kind="status", status=400)
    else:
        await key_is_taken(stripe, payer)


@pytest.mark.parametrize("how", ["invalid", "idempotency"])
async def test_a_refused_request_is_told_and_is_no_decline(
    world: World, stripe: StripeStandIn, how: str
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await refuse(stripe, payer, how)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    assert "the fault is on this side" in await page(handle)
    history = await standing_of(world.engine, payer)
    assert ([one.state for one in history.own], history.suspension) == ([OPEN], None)
    [alert] = await told(world.engine, payer)
    assert (alert.title, alert.workflow_id) == (REFUSED, handle.id)
    assert await payments(stripe, payer) == []


async def test_what_was_refused_is_charged_as_soon_as_the_cause_is_mended(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await refuse(stripe, payer, "invalid")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    await world.let_pass(handle, timedelta(minutes=1))
    await until_states(world.engine, payer, [SUCCEEDED])

    async def is_credited() -> bool:
        return await balance_of(world.engine, payer.org_id) == 5400

    await eventually(is_credited)
    titles = [one.title for one in await told(world.engine, payer)]
    assert titles == [REFUSED, "Automatic recharges work again"]


async def test_a_key_that_stands_for_another_request_is_left_for_a_new_one(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await refuse(stripe, payer, "idempotency")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    await world.let_pass(handle, timedelta(hours=3))
    await until_states(world.engine, payer, [ABANDONED, SUCCEEDED])
    assert len(await payments(stripe, payer)) == 1


async def test_a_request_that_stays_wrong_is_tried_ever_more_slowly(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await charges_fail(stripe, kind="status", status=400, times=None)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    await world.let_pass(handle, timedelta(hours=12))
    await stripe.behave()
    attempts = await attempts_of(world.engine, payer)
    assert len(attempts) <= 14
    assert set(await states_of(world.engine, payer)) <= {OPEN, ABANDONED}
    assert [one.title for one in await told(world.engine, payer)] == [REFUSED]
