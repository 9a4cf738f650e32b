"""Recharges that park: what operators and customers are told to do has them go on."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from billing.recharges.attempt import AttemptState
from store.calls import calls
from tests.support.advice import decide, until_balance, walks
from tests.support.api_server import Api
from tests.support.checkout_clicks import bringing_events, opened
from tests.support.factories import an_assistant, ended_call
from tests.support.parked_workflows import until_parked
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    attempts_of,
    card_becomes,
    charges_fail,
    configure,
    handle_of,
    recharge,
    save_card,
    states_of,
    stripe_fails,
    until_over,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World

DECLINED, SUCCEEDED = AttemptState.DECLINED, AttemptState.SUCCEEDED
POOR, LOST = "pm_card_chargeDeclinedInsufficientFunds", "pm_card_chargeDeclinedLostCard"
ASKS = "pm_card_authenticationRequired"
REFUSED = {"kind": "status", "status": 403}
ON = {"enabled": True, "threshold_minor": 5000}


@pytest.fixture(autouse=True)
async def behaving(stripe: StripeStandIn) -> AsyncIterator[None]:
    yield
    await stripe.behave()


async def held(world: World, stripe: StripeStandIn, behaviour: str, reason: str) -> Payer:
    """A payer of 6.00 who is to have 50.00, and whose card holds the recharge up."""
    payer = await a_payer(world.engine, stripe, threshold_minor=5000)
    await card_becomes(stripe, payer.card_id, behaviour)
    await until_parked(await recharge(world.temporal, payer), reason)
    return payer


async def check_out(api: Api, stripe: StripeStandIn, payer: Payer, *, save: bool = True) -> None:
    """Let the customer top up by 25.00."""
    session = await opened(api.operator, payer.org_id, save_card=save)
    async with bringing_events(api, stripe):
        await stripe.pay(session["session_id"])


async def put(api: Api, payer: Payer, **settings: object) -> None:
    path = f"/v1/organizations/{payer.org_id}/auto-recharge"
    answer = await api.operator.put(path, json={**ON, **settings})
    assert answer.status_code == 200, answer.text


async def another_card(api: Api, stripe: StripeStandIn, payer: Payer, how: str) -> int:
    """Do what ends a wait for a card; return what it has brought beside the recharge."""
    if how == "a checkout with save_card":
        await check_out(api, stripe, payer)
        return 2500
    if how == "a top-up":
        await card_becomes(stripe, payer.card_id, "pm_card_visa")
        await check_out(api, stripe, payer, save=False)
        return 2500
    if how == "a new default":
        await save_card(stripe, payer.customer_id)
        await put(api, payer)
        return 0
    await card_becomes(stripe, payer.card_id, "pm_card_visa")
    await decide(api, f"recharge/{payer.org_id}", "reprocess")
    return 0


ENDS = ["a checkout with save_card", "a top-up", "a new default", "reprocess"]


@walks("card_declined")
@pytest.mark.parametrize("how", ENDS)
async def test_a_declined_card(world: World, api: Api, stripe: StripeStandIn, how: str) -> None:
    payer = await held(world, stripe, POOR, "card_declined")
    brought = await another_card(api, stripe, payer, how)
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    await until_balance(api, payer.org_id, 600 + brought + 5000)
    await until_over(world.temporal, payer)


@walks("card_declined")
async def test_a_declined_card_is_charged_again_by_itself(
    world: World, api: Api, stripe: StripeStandIn
) -> None:
    payer = await held(world, stripe, POOR, "card_declined")
    await card_becomes(stripe, payer.card_id, "pm_card_visa")
    await world.let_pass(handle_of(world.temporal, payer), timedelta(hours=1, minutes=1))
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    await until_balance(api, payer.org_id, 5600)


@walks("recharge_suspended")
@pytest.mark.parametrize("how", ENDS)
async def test_a_suspended_card(world: World, api: Api, stripe: StripeStandIn, how: str) -> None:
    payer = await held(world, stripe, LOST, "recharge_suspended")
    brought = await another_card(api, stripe, payer, how)
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    await until_balance(api, payer.org_id, 600 + brought + 5000)
    await until_over(world.temporal, payer)


@walks("requires_action")
async def test_a_customer_who_is_sent_the_link(
    world: World, api: Api, stripe: StripeStandIn
) -> None:
    payer = await held(world, stripe, ASKS, "requires_action")
    path = f"/v1/organizations/{payer.org_id}/auto-recharge"
    link = (await api.operator.get(path)).json()["link"]
    async with bringing_events(api, stripe):
        assert (await stripe.http.post(link)).is_redirect
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_balance(api, payer.org_id, 5600)
    await use_and_be_recharged(world, api, payer)


async def use_and_be_recharged(world: World, api: Api, payer: Payer) -> None:
    """The card that they paid with is charged from then on, and nobody is asked."""
    await put(api, payer, threshold_minor=9000)
    await until_states(world.engine, payer, [SUCCEEDED, SUCCEEDED])
    first, second = await attempts_of(world.engine, payer)
    assert second.card.payment_method_id != first.card.payment_method_id


@walks("recharge_capped")
@pytest.mark.parametrize("how", ["by itself", "a higher cap"])
async def test_a_cap_of_theirs(world: World, api: Api, stripe: StripeStandIn, how: str) -> None:
    payer = await a_payer(world.engine, stripe, threshold_minor=5000, max_per_day=1)
    handle = await recharge(world.temporal, payer)
    await until_balance(api, payer.org_id, 5600)
    await configure(world.engine, payer.org_id, threshold_minor=9000, max_per_day=1)
    handle = await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "recharge_capped")
    if how == "by itself":
        await world.let_pass(handle, timedelta(days=1))
    else:
        await put(api, payer, threshold_minor=9000, max_per_day=2)
    await until_balance(api, payer.org_id, 10_600)


@walks("recharge_above_cap")
async def test_a_charge_that_is_plausible(world: World, api: Api, stripe: StripeStandIn) -> None:
    payer = await a_payer(world.engine, stripe, 400, amount_minor=60_000)
    await until_parked(await recharge(world.temporal, payer), "recharge_above_cap")
    await decide(api, f"recharge/{payer.org_id}", "reprocess")
    await until_balance(api, payer.org_id, 60_400)


@walks("recharge_above_cap")
@pytest.mark.parametrize("caps", [(80_000, 200_000), (60_000, 60_000)])
async def test_an_organisation_whose_caps_are_raised(
    world: World, api: Api, stripe: StripeStandIn, caps: tuple[int, int]
) -> None:
    payer = await a_payer(world.engine, stripe, 400, amount_minor=60_000)
    await until_parked(await recharge(world.temporal, payer), "recharge_above_cap")
    said = {"charge_minor": caps[0], "day_minor": caps[1], "note": "Ticket 4711"}
    path = f"/v1/organizations/{payer.org_id}/auto-recharge/caps"
    (await api.operator.put(path, json=said)).raise_for_status()
    await until_balance(api, payer.org_id, 60_400)


@walks("recharge_above_cap")
async def test_a_day_s_cap_goes_on_by_itself_on_the_next_day(
    world: World, api: Api, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400, amount_minor=50_000)
    await recharge(world.temporal, payer)
    await until_balance(api, payer.org_id, 50_400)
    await put(api, payer, threshold_minor=90_000, amount_minor=50_000)
    await until_balance(api, payer.org_id, 100_400)
    await put(api, payer, threshold_minor=120_000, amount_minor=50_000)
    handle = handle_of(world.temporal, payer)
    await until_parked(handle, "recharge_above_cap")
    await world.let_pass(handle, timedelta(days=1, minutes=1))
    await until_balance(api, payer.org_id, 150_400)


@walks("dispute_open")
@pytest.mark.parametrize("status", ["won", "lost"])
async def test_a_dispute_that_is_answered(
    world: World, api: Api, stripe: StripeStandIn, status: str
) -> None:
    payer = await a_payer(world.engine, stripe, 600, enabled=False)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(payer.org_id, 2500)
    await until_balance(api, payer.org_id, 3100)
    async with bringing_events(api, stripe):
        dispute = await stripe.dispute(payment_id)
    await until_balance(api, payer.org_id, 600)
    await use(api, payer)
    await put(api, payer, threshold_minor=1000)
    await until_parked(handle_of(world.temporal, payer), "dispute_open")
    async with bringing_events(api, stripe):
        await stripe.dispute_becomes(dispute, status)
    if status == "lost":
        await until_states(world.engine, payer, [SUCCEEDED])
    await until_over(world.temporal, payer)


async def use(api: Api, payer: Payer) -> None:
    """Charge a call of a minute."""
    call = ended_call(await an_assistant(api.engine, payer.org_id), 60)
    async with api.engine.begin() as connection:
        await calls.charge(connection, [call])


@walks("organization_frozen")
async def test_an_organisation_whose_calls_are_allowed_again(
    world: World, api: Api, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    path = f"/v1/organizations/{payer.org_id}/frozen"
    (await api.operator.put(path, json={"reason": "Ticket 4711"})).raise_for_status()
    await until_parked(await recharge(world.temporal, payer), "organization_frozen")
    (await api.operator.delete(path)).raise_for_status()
    await until_balance(api, payer.org_id, 5400)


@walks("no_saved_card")
@pytest.mark.parametrize("gone", ["the card", "the customer"])
async def test_a_customer_who_saves_a_card_at_a_checkout(
    world: World, api: Api, stripe: StripeStandIn, gone: str
) -> None:
    payer = await a_payer(world.engine, stripe, threshold_minor=5000)
    if gone == "the card":
        detach = f"/v1/payment_methods/{payer.card_id}/detach"
        (await stripe.http.post(detach)).raise_for_status()
    else:
        (await stripe.http.delete(f"/v1/customers/{payer.customer_id}")).raise_for_status()
    await until_parked(await recharge(world.temporal, payer), "no_saved_card")
    await check_out(api, stripe, payer)
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_balance(api, payer.org_id, 600 + 2500 + 5000)
    await until_over(world.temporal, payer)


@walks("fault")
@pytest.mark.parametrize("how", ["by itself", "reprocess"])
async def test_a_charge_that_stripe_did_not_answer(
    world: World, api: Api, stripe: StripeStandIn, how: str
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await charges_fail(stripe, kind="status", status=500)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    if how == "by itself":
        await world.let_pass(handle, timedelta(minutes=1))
    else:
        await decide(api, handle.id, "reprocess")
    await until_balance(api, payer.org_id, 5400)


@walks("key_refused")
@pytest.mark.parametrize("how", ["by itself", "reprocess"])
@pytest.mark.parametrize("asked", ["for the card", "to charge it"])
async def test_a_charge_while_stripe_refuses_the_key(
    world: World, api: Api, stripe: StripeStandIn, asked: str, how: str
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    if asked == "for the card":
        await stripe_fails(stripe, "GET", f"/v1/customers/{payer.customer_id}", **REFUSED)
    else:
        await charges_fail(stripe, **REFUSED)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "key_refused")
    assert DECLINED not in await states_of(world.engine, payer)
    if how == "by itself":
        await world.let_pass(handle, timedelta(minutes=1))
    else:
        await decide(api, handle.id, "reprocess")
    await until_balance(api, payer.org_id, 5400)
