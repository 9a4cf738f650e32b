"""A card that is declined: how often it is tried, who is told, and what makes it go on."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import WorkflowHandle

from activities.parking.visibility import parked_work
from billing.calls.call import CallBill, CallState
from billing.recharges.attempt import AttemptState
from store.calls import calls
from store.ledger import ledger
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, balance_of, charge_of, ended_call, unique
from tests.support.parked_workflows import (
    attributes,
    discard,
    ended,
    page,
    start_bill,
    until_parked,
)
from tests.support.recharge_alerts import told
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    attempts_of,
    card_becomes,
    configure,
    handle_of,
    payments,
    recharge,
    save_card,
    settle,
    standing_of,
    states_of,
    top_up,
    until_over,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from workflows.bill_call import BillCall

HOUR = timedelta(hours=1)
POOR = "pm_card_chargeDeclinedInsufficientFunds"
DECLINED, SUCCEEDED = AttemptState.DECLINED, AttemptState.SUCCEEDED


async def suspended(world: World, stripe: StripeStandIn, balance_minor: int = 400) -> Payer:
    """A payer whose card is lost, and suspended for it."""
    payer = await a_payer(world.engine, stripe, balance_minor)
    await card_becomes(stripe, payer.card_id, "pm_card_chargeDeclinedLostCard")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_suspended")
    return payer


async def test_a_dead_card_and_a_day_of_calls(world: World, stripe: StripeStandIn) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, POOR)
    assistant = await an_assistant(world.engine, payer.org_id)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "card_declined")
    calls: list[WorkflowHandle[BillCall, CallBill]] = []
    for _ in range(24):
        calls += [await start_bill(world.temporal, ended_call(assistant, 60)) for _ in range(2)]
        await world.let_pass(handle, HOUR)
    await until_states(world.engine, payer, [DECLINED] * 5)
    tried = [one.created_at for one in await attempts_of(world.engine, payer)]
    hours = [round((later - tried[0]) / HOUR) for later in tried]
    assert hours == [0, 1, 3, 7, 15]
    assert len(await payments(stripe, payer)) == 5
    assert [alert.title for alert in await told(world.engine, payer)] == [
        "An automatic recharge failed: insufficient_funds"
    ]
    charged = (400 + 500) // 56
    assert await balance_of(world.engine, payer.org_id) == 400 - charged * 56
    await until_parked(calls[-1], "debt_limit")

    await save_card(stripe, payer.customer_id)
    await recharge(world.temporal, payer, "changed")
    for call in calls:
        assert (await ended(call)).state is CallState.SETTLED
    await until_over(world.temporal, payer)
    assert await states_of(world.engine, payer) == [*[DECLINED] * 5, SUCCEEDED]
    assert await balance_of(world.engine, payer.org_id) == 400 + 5000 - 48 * 56
    assert [alert.title for alert in await told(world.engine, payer)][1:] == [
        "Automatic recharges work again"
    ]


async def test_the_last_soft_decline_suspends_and_that_is_told_too(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, POOR)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "card_declined")
    for count in range(2, 9):
        await world.let_pass(handle, HOUR * 2 ** (count - 2))
        await until_states(world.engine, payer, [DECLINED] * count)
    await until_parked(handle, "recharge_suspended")
    await world.let_pass(handle, timedelta(days=3))
    assert await states_of(world.engine, payer) == [DECLINED] * 8
    titles = [alert.title for alert in await told(world.engine, payer)]
    assert titles[1:] == ["Automatic recharges are suspended: too_many_declines"]


@pytest.mark.parametrize(
    ("card", "code"),
    [
        ("pm_card_chargeDeclinedLostCard", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "stolen_card"),
        ("pm_card_chargeDeclinedFraudulent", "fraudulent"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ],
)
async def test_a_final_decline_suspends_at_once_and_is_told_once(
    world: World, stripe: StripeStandIn, card: str, code: str
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, card)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_suspended")
    for _ in range(20):
        await recharge(world.temporal, payer)
    await world.let_pass(handle, timedelta(days=2))
    [alert] = await told(world.engine, payer)
    assert (alert.title, alert.workflow_id) == (f"An automatic recharge failed: {code}", handle.id)
    assert len(await payments(stripe, payer)) == 1
    assert f"for `{code}`" in await page(handle)
    assert "another card" in await page(handle)


async def test_a_cool_down_shows_until_when_after_what_and_how_many_tries(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, POOR)
    handle = await recharge(world.temporal, payer)
    assert await until_parked(handle, "card_declined") == (
        "parked", "card_declined", payer.org_id, None
    )  # fmt: skip
    [attempt] = await attempts_of(world.engine, payer)
    shown = await page(handle)
    assert f"**Until:** {attempt.created_at + HOUR:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert "last for `insufficient_funds`" in shown
    assert "Declines in a row: 1 of 8." in shown
    assert (await discard(handle, "Ann: they pay by invoice")).state == "discarded"


@pytest.mark.parametrize("how", ["another card", "a top-up", "an engineer"])
async def test_a_suspension_ends(world: World, stripe: StripeStandIn, how: str) -> None:
    payer = await suspended(world, stripe, 100)
    if how == "another card":
        await save_card(stripe, payer.customer_id)
        await recharge(world.temporal, payer, "changed")
    else:
        await card_becomes(stripe, payer.card_id, "pm_card_visa")
    if how == "a top-up":
        await top_up(world.temporal, stripe, payer, 300)
    if how == "an engineer":
        await handle_of(world.temporal, payer).signal("reprocess", "Ann: the bank says it is fine")
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    await until_over(world.temporal, payer)


async def test_another_card_is_found_within_a_day_without_anybody_saying_so(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await suspended(world, stripe)
    await save_card(stripe, payer.customer_id)
    await world.let_pass(handle_of(world.temporal, payer), timedelta(days=1, minutes=1))
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])


async def test_a_top_up_that_is_enough_ends_the_wait(world: World, stripe: StripeStandIn) -> None:
    payer = await suspended(world, stripe)
    await top_up(world.temporal, stripe, payer)
    await until_over(world.temporal, payer)
    assert await states_of(world.engine, payer) == [DECLINED]


async def test_a_customer_who_confirms_is_credited(world: World, stripe: StripeStandIn) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    [attempt] = await attempts_of(world.engine, payer)
    assert attempt.link is not None
    assert attempt.deadline is not None
    paid = await stripe.http.post(attempt.link)
    assert paid.is_redirect
    await recharge(world.temporal, payer, "changed")
    await until_states(world.engine, payer, [SUCCEEDED])

    async def is_credited() -> bool:
        return await balance_of(world.engine, payer.org_id) == 5400

    await eventually(is_credited)
    statuses = sorted(one["status"] for one in await payments(stripe, payer))
    assert statuses == ["canceled", "succeeded"]


async def test_a_confirmation_that_nobody_told_of_is_found_by_the_deadline(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    [attempt] = await attempts_of(world.engine, payer)
    await stripe.http.post(str(attempt.link))
    await world.let_pass(handle, timedelta(hours=23, minutes=1))
    await until_states(world.engine, payer, [SUCCEEDED])


async def test_a_customer_who_does_not_confirm_leaves_it_suspended_and_the_page_closed(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "requires_action")
    [attempt] = await attempts_of(world.engine, payer)
    await world.let_pass(handle, timedelta(hours=23, minutes=1))
    await until_parked(handle, "recharge_suspended")
    assert "expired" in (await stripe.http.get(str(attempt.link))).text
    assert [one["status"] for one in await payments(stripe, payer)] == ["canceled"]
    assert await balance_of(world.engine, payer.org_id) == 400
    titles = [alert.title for alert in await told(world.engine, payer)]
    assert titles == [
        "The bank wants the customer to confirm an automatic recharge",
        "An automatic recharge failed: authentication_required",
    ]


async def test_without_a_page_to_return_to_a_bank_that_asks_suspends(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400, return_url=None)
    await card_becomes(stripe, payer.card_id, "pm_card_authenticationRequired")
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_suspended")


@pytest.mark.parametrize(
    ("cap", "passes"),
    [
        ({"max_per_day": 1}, timedelta(days=1)),
        ({"max_minor_per_day": 5999}, timedelta(days=1)),
        ({"max_per_month": 1}, timedelta(days=31)),
        ({"max_minor_per_month": 5999}, timedelta(days=31)),
    ],
)
async def test_a_cap_holds_and_goes_on_by_itself_when_its_window_has_passed(
    world: World, stripe: StripeStandIn, cap: dict[str, Any], passes: timedelta
) -> None:
    payer = await a_payer(world.engine, stripe, 400, **cap)
    await recharge(world.temporal, payer)
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_over(world.temporal, payer)
    await configure(world.engine, payer.org_id, threshold_minor=9000, **cap)
    handle = await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "recharge_capped")
    await asyncio.sleep(0.5)
    assert await states_of(world.engine, payer) == [SUCCEEDED]
    await world.let_pass(handle, passes)
    await until_states(world.engine, payer, [SUCCEEDED, SUCCEEDED])


async def test_while_a_dispute_is_open_nothing_is_charged_and_then_it_is(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 600)
    payment_id = await stripe.payment(payer.org_id, 2500)
    dispute = await stripe.dispute(payment_id)

    await settle(world.temporal, payment_id)
    assert (await standing_of(world.engine, payer)).is_disputed
    await use(world.engine, payer)
    await configure(world.engine, payer.org_id, threshold_minor=1000)
    handle = await recharge(world.temporal, payer, "changed")
    await until_parked(handle, "dispute_open")
    await stripe.dispute_becomes(dispute, "lost")
    await settle(world.temporal, payment_id)
    await until_states(world.engine, payer, [SUCCEEDED])
    [paid] = await payments(stripe, payer)
    assert paid["amount"] == 5000


async def use(engine: AsyncEngine, payer: Payer) -> None:
    """Charge a call of a minute."""
    call = ended_call(await an_assistant(engine, payer.org_id), 60)
    async with engine.begin() as connection:
        await calls.charge(connection, [call])


@pytest.mark.parametrize("how", ["refunded", "disputed and lost"])
async def test_what_goes_back_starts_no_recharge_and_usage_after_it_starts_a_usual_one(
    world: World, stripe: StripeStandIn, how: str
) -> None:
    payer = await a_payer(world.engine, stripe, 600)
    payment_id = await top_up(world.temporal, stripe, payer, 40_000)
    async with world.engine.begin() as connection:
        await ledger.post(connection, [charge_of(payer.org_id, 40_000, unique("call"))])
    if how == "refunded":
        await stripe.refund(payment_id)
    else:
        await stripe.dispute_becomes(await stripe.dispute(payment_id), "lost")
    await settle(world.temporal, payment_id)
    await until_over(world.temporal, payer)
    assert await balance_of(world.engine, payer.org_id) == 600 - 40_000
    assert await payments(stripe, payer) == []
    await use_on_credit(world.engine, payer)
    await recharge(world.temporal, payer)
    await until_states(world.engine, payer, [SUCCEEDED])
    await until_over(world.temporal, payer)
    [paid] = await payments(stripe, payer)
    assert paid["amount"] == 5000

    async def is_credited() -> bool:
        return await balance_of(world.engine, payer.org_id) == 600 - 40_000 - 156 + 5000

    await eventually(is_credited)
    await recharge(world.temporal, payer, "changed")
    await until_over(world.temporal, payer)
    assert await states_of(world.engine, payer) == [SUCCEEDED]


async def use_on_credit(engine: AsyncEngine, payer: Payer) -> None:
    """Charge something that is not refused, however far below its limit the wallet is."""
    async with engine.begin() as connection:
        used = charge_of(payer.org_id, 156, unique("call"))
        await ledger.post(connection, [replace(used, refusable=False)])


async def test_more_than_a_card_is_charged_without_a_person_waits_for_one_and_is_told(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400, amount_minor=60_000)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_above_cap")
    assert "600.00 GBP is above what a card is charged without a person" in await page(handle)
    [alert] = await told(world.engine, payer)
    assert (alert.org_id, alert.workflow_id) == (payer.org_id, handle.id)
    await world.let_pass(handle, timedelta(days=3))
    assert await payments(stripe, payer) == []
    await handle.signal("reprocess", "Ann: they have asked for it")
    await until_states(world.engine, payer, [SUCCEEDED])
    [paid] = await payments(stripe, payer)
    assert paid["amount"] == 60_000


async def test_an_approval_is_of_what_was_shown_and_of_no_more(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400, amount_minor=60_000)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "recharge_above_cap")
    await configure(world.engine, payer.org_id, amount_minor=70_000)
    await handle.signal("reprocess", "Ann: they have asked for it")

    async def shows_more() -> bool:
        return "700.00 GBP is above" in await page(handle)

    await eventually(shows_more)
    await until_parked(handle, "recharge_above_cap")
    assert await payments(stripe, payer) == []


async def test_a_card_that_is_gone_is_told_once_and_a_new_one_goes_on(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    (await stripe.http.post(f"/v1/payment_methods/{payer.card_id}/detach")).raise_for_status()
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "no_saved_card")
    await world.let_pass(handle, timedelta(days=2))
    titles = [alert.title for alert in await told(world.engine, payer)]
    assert titles == ["An automatic recharge found no saved card"]
    await save_card(stripe, payer.customer_id)
    await recharge(world.temporal, payer, "changed")
    await until_states(world.engine, payer, [SUCCEEDED])


async def test_many_calls_that_knock_while_it_waits_make_it_begin_anew(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await suspended(world, stripe)
    handle = handle_of(world.temporal, payer)
    first = (await handle.describe()).run_id
    waits = await parked_work(await handle.describe())
    for _ in range(60):
        await recharge(world.temporal, payer)

    async def began_anew() -> bool:
        return (await handle.describe()).run_id != first

    await eventually(began_anew)
    await until_parked(handle, "recharge_suspended")
    assert (await attributes(handle))[2] == payer.org_id
    still = await parked_work(await handle.describe())
    assert still.run_id != waits.run_id
    assert (still.parked.reason, still.since) == ("recharge_suspended", waits.since)
    assert f"**Since:** {waits.since:%Y-%m-%d %H:%M:%S}" in await page(handle)
    assert len(await payments(stripe, payer)) == 1
