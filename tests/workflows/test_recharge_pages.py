"""The page on which a customer pays instead of their card: however it ends, it is an end."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.recharges.attempt import AttemptState
from tests.support.api_server import serving
from tests.support.eventually import eventually
from tests.support.factories import balance_of
from tests.support.parked_workflows import until_parked
from tests.support.recharged_payers import (
    RETURN_URL,
    Payer,
    Recharge,
    a_payer,
    attempts_of,
    card_becomes,
    payments,
    recharge,
    save_card,
    standing_of,
    states_of,
    stripe_fails,
    until_over,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from tests.workflows.test_late_charges import change

ABANDONED, REQUIRES_ACTION = AttemptState.ABANDONED, AttemptState.REQUIRES_ACTION
DECLINED, SUCCEEDED = AttemptState.DECLINED, AttemptState.SUCCEEDED


async def paid_by_debit(world: World, stripe: StripeStandIn) -> tuple[Payer, Recharge, str]:
    """A payer who has paid their page by a bank debit, which is under way; with the session."""
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    [attempt] = await attempts_of(world.engine, payer)
    session_id = str(attempt.session_id)
    await stripe.pay(session_id, "pm_bacsDebit_success")
    await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "fault")
    return payer, handle, session_id


async def until_credited(engine: AsyncEngine, payer: Payer, balance_minor: int) -> None:
    async def is_credited() -> bool:
        return await balance_of(engine, payer.org_id) == balance_minor

    await eventually(is_credited)


async def test_a_debit_that_the_bank_refuses_is_an_end_and_another_card_is_charged(
    world: World, stripe: StripeStandIn
) -> None:
    payer, handle, session_id = await paid_by_debit(world, stripe)
    await stripe.clear(session_id, succeed=False)
    await world.let_pass(handle, timedelta(hours=2))
    await until_states(world.engine, payer, [DECLINED])
    await until_parked(handle, "recharge_suspended")
    assert {one["status"] for one in await payments(stripe, payer)} == {"canceled"}
    await save_card(stripe, payer.customer_id)
    await recharge(world.temporal, payer, "changed")
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    await until_credited(world.engine, payer, 5400)


async def test_a_debit_that_the_bank_pays_is_credited(world: World, stripe: StripeStandIn) -> None:
    payer, handle, session_id = await paid_by_debit(world, stripe)
    await stripe.clear(session_id, succeed=True)
    await world.let_pass(handle, timedelta(hours=2))
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_credited(world.engine, payer, 5400)


@pytest.mark.parametrize("return_url", [RETURN_URL, None])
async def test_what_is_paid_between_its_decline_and_its_cancellation_is_not_given_up(
    world: World, stripe: StripeStandIn, return_url: str | None
) -> None:
    payer = await a_payer(world.engine, stripe, 400, return_url=return_url)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    cancel = "/v1/payment_intents/*/cancel"
    await stripe_fails(stripe, "POST", cancel, kind="status", status=500, times=3)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    [declined] = await payments(stripe, payer)
    await stripe.confirm(declined["id"])
    await recharge(world.temporal, payer, "changed")
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_credited(world.engine, payer, 5400)
    await until_over(world.temporal, payer)
    [attempt] = await attempts_of(world.engine, payer)
    assert attempt.link is None


async def test_a_page_that_stripe_only_repeats_the_failure_of_is_found_and_shown(
    world: World, stripe: StripeStandIn
) -> None:
    """A failure is stored under its key for a day, in which the customer was to confirm."""
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    fault = {"kind": "status_after", "status": 500, "stored": True}
    await stripe_fails(stripe, "POST", "/v1/checkout/sessions", **fault)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    [attempt] = await attempts_of(world.engine, payer)
    [session] = await stripe.sessions(payer.org_id)
    assert (attempt.session_id, attempt.link) == (session["id"], session["url"])
    await stripe.pay(session["id"])
    await recharge(world.temporal, payer, "changed")
    await until_states(world.engine, payer, [SUCCEEDED])


async def asked_to_confirm(
    world: World, stripe: StripeStandIn, *, is_open: bool
) -> tuple[Payer, Recharge]:
    """A payer whose bank wants to hear from them: the page is open, or Stripe did not open it."""
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    if not is_open:
        path = "/v1/checkout/sessions"
        await stripe_fails(stripe, "POST", path, kind="status", status=503, times=3)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action" if is_open else "fault")
    return payer, handle


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("switched off", None),
        ("topped up", None),
        ("frozen", "organization_frozen"),
        ("disputed", "dispute_open"),
    ],
)
async def test_nobody_is_asked_to_pay_what_would_not_be_charged_any_more(
    world: World, stripe: StripeStandIn, what: str, reason: str | None, *, is_open: bool
) -> None:
    """It is no decline, nothing is suspended for it, and the card is charged when it is due."""
    payer, handle = await asked_to_confirm(world, stripe, is_open=is_open)
    await change(world, stripe, payer, what)
    await until_states(world.engine, payer, [ABANDONED])
    if reason is None:
        await until_over(world.temporal, payer)
    else:
        await until_parked(handle, reason)
    assert {one["status"] for one in await payments(stripe, payer)} == {"canceled"}
    assert {one["status"] for one in await stripe.sessions(payer.org_id)} <= {"expired"}
    standing = await standing_of(world.engine, payer)
    assert (standing.suspension, standing.under_way) == (None, None)


async def test_who_is_frozen_over_http_is_asked_no_more(
    world: World, stripe: StripeStandIn
) -> None:
    payer, handle = await asked_to_confirm(world, stripe, is_open=True)
    async with serving(world.engine, world.temporal) as api:
        path = f"/v1/organizations/{payer.org_id}/frozen"
        (await api.operator.put(path, json={"reason": "chargebacks"})).raise_for_status()
        await until_parked(handle, "organization_frozen")
    assert await states_of(world.engine, payer) == [ABANDONED]


async def test_who_is_asked_for_too_much_by_now_is_asked_anew(
    world: World, stripe: StripeStandIn
) -> None:
    payer, handle = await asked_to_confirm(world, stripe, is_open=True)
    await change(world, stripe, payer, "a smaller amount")
    await until_states(world.engine, payer, [ABANDONED, REQUIRES_ACTION])
    await until_parked(handle, "requires_action")
    sessions = {one["status"]: one["amount_total"] for one in await stripe.sessions(payer.org_id)}
    assert sessions == {"expired": 5000, "open": 2000}


async def test_a_page_that_was_paid_before_it_was_withdrawn_is_credited(
    world: World, stripe: StripeStandIn
) -> None:
    payer, _ = await asked_to_confirm(world, stripe, is_open=True)
    [attempt] = await attempts_of(world.engine, payer)
    await stripe.pay(str(attempt.session_id))
    await change(world, stripe, payer, "switched off")
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_credited(world.engine, payer, 5400)
