"""The card that a customer saves, as they were advised to, is the one that is charged next."""

from dataclasses import replace
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from billing.inbox.webhook_event import PaymentHint
from billing.recharges.attempt import AttemptState
from tests.support.checkouts import ask, top_up
from tests.support.eventually import eventually
from tests.support.factories import balance_of
from tests.support.parked_workflows import ended, until_parked
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    attempts_of,
    card_becomes,
    handle_of,
    payments,
    recharge,
    save_card,
    settle,
    states_of,
    stripe_fails,
    until_over,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from workflows import settle_payment
from workflows.settle_payment import SettlePayment

DECLINED, SUCCEEDED = AttemptState.DECLINED, AttemptState.SUCCEEDED
POOR, LOST = "pm_card_chargeDeclinedInsufficientFunds", "pm_card_chargeDeclinedLostCard"


async def default_of(stripe: StripeStandIn, payer: Payer) -> str | None:
    """Read which card is the default of a customer at Stripe."""
    answer = await stripe.http.get(f"/v1/customers/{payer.customer_id}")
    found: str | None = answer.json()["invoice_settings"]["default_payment_method"]
    return found


async def card_of(stripe: StripeStandIn, payment_id: str) -> str:
    answer = await stripe.http.get(f"/v1/payment_intents/{payment_id}")
    return str(answer.json()["payment_method"])


async def pay_and_save(world: World, stripe: StripeStandIn, payer: Payer) -> str:
    """Let the customer top up by a checkout that saves their card; return the payment's id."""
    wanted = replace(top_up(payer.org_id), save_card=True)
    session = await ask(world.temporal, wanted)
    return await stripe.pay(session.session_id)


async def held(world: World, stripe: StripeStandIn, behaviour: str, reason: str) -> Payer:
    """A payer who needs much, and whose default card holds their recharge up."""
    payer = await a_payer(world.engine, stripe, threshold_minor=5000)
    await card_becomes(stripe, payer.card_id, behaviour)
    await until_parked(await recharge(world.temporal, payer), reason)
    return payer


@pytest.mark.parametrize(
    ("behaviour", "reason"), [(POOR, "card_declined"), (LOST, "recharge_suspended")]
)
async def test_a_card_that_is_saved_at_a_checkout_is_charged_next_and_becomes_the_default(
    world: World, stripe: StripeStandIn, behaviour: str, reason: str
) -> None:
    payer = await held(world, stripe, behaviour, reason)
    payment_id = await pay_and_save(world, stripe, payer)
    await settle(world.temporal, payment_id)
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    new = await card_of(stripe, payment_id)
    assert new != payer.card_id
    assert (await attempts_of(world.engine, payer))[-1].card.payment_method_id == new
    assert await default_of(stripe, payer) == new
    await until_over(world.temporal, payer)


async def test_a_card_that_is_saved_on_the_page_of_a_recharge_is_charged_next(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await held(world, stripe, "pm_card_authenticationRequired", "requires_action")
    [attempt] = await attempts_of(world.engine, payer)
    payment_id = await stripe.pay(str(attempt.session_id))
    await settle(world.temporal, payment_id)
    await until_states(world.engine, payer, [SUCCEEDED])
    new = await card_of(stripe, payment_id)
    assert await default_of(stripe, payer) == new != payer.card_id


async def test_a_customer_whose_card_is_gone_saves_another_and_it_goes_on_by_itself(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, threshold_minor=5000)
    (await stripe.http.post(f"/v1/payment_methods/{payer.card_id}/detach")).raise_for_status()
    await until_parked(await recharge(world.temporal, payer), "no_saved_card")
    payment_id = await pay_and_save(world, stripe, payer)
    await settle(world.temporal, payment_id)
    await until_states(world.engine, payer, [SUCCEEDED])
    assert await default_of(stripe, payer) == await card_of(stripe, payment_id)


async def test_a_card_is_saved_also_for_whom_nothing_is_recharged(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, enabled=False)
    payment_id = await pay_and_save(world, stripe, payer)
    await settle(world.temporal, payment_id)
    assert await default_of(stripe, payer) == await card_of(stripe, payment_id)


async def test_while_stripe_does_not_take_the_default_the_money_is_there_and_it_is_tried_again(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 600, enabled=False)
    payment_id = await pay_and_save(world, stripe, payer)
    path = f"/v1/customers/{payer.customer_id}"
    await stripe_fails(stripe, "POST", path, kind="status", status=500, times=3)
    handle: WorkflowHandle[Any, Any] = world.temporal.get_workflow_handle(f"payment/{payment_id}")
    await settle_in_the_background(world, payment_id)
    await until_parked(handle, "fault")
    assert await balance_of(world.engine, payer.org_id) == 600 + 2500
    await handle.signal("reprocess", "Ann: Stripe is back")
    await ended(handle)
    assert await default_of(stripe, payer) == await card_of(stripe, payment_id)


async def settle_in_the_background(world: World, payment_id: str) -> None:
    options = settle_payment.start_options(payment_id)
    await world.temporal.start_workflow(
        SettlePayment.run, PaymentHint(payment_id, "evt"), **options
    )


async def test_a_default_that_was_chosen_later_stays_though_the_payment_is_looked_at_again(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe)
    payment_id = await pay_and_save(world, stripe, payer)
    await settle(world.temporal, payment_id)
    chosen = await save_card(stripe, payer.customer_id)
    await settle(world.temporal, payment_id)
    assert await default_of(stripe, payer) == chosen


async def test_a_payment_that_saves_nothing_changes_no_default(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe)
    session = await ask(world.temporal, top_up(payer.org_id))
    await settle(world.temporal, await stripe.pay(session.session_id))
    assert await default_of(stripe, payer) == payer.card_id


async def test_a_recharge_that_comes_before_the_payment_is_done_with_charges_the_new_card(
    world: World, stripe: StripeStandIn
) -> None:
    """The default is not set yet: what was written down with the credit decides."""
    payer = await held(world, stripe, LOST, "recharge_suspended")
    payment_id = await pay_and_save(world, stripe, payer)
    path = f"/v1/customers/{payer.customer_id}"
    await stripe_fails(stripe, "POST", path, kind="status", status=500, times=3)
    await settle_in_the_background(world, payment_id)

    async def is_credited() -> bool:
        return await balance_of(world.engine, payer.org_id) == 600 + 2500

    await eventually(is_credited)
    await handle_of(world.temporal, payer).signal("changed", "a test")
    await until_states(world.engine, payer, [DECLINED, SUCCEEDED])
    new = await card_of(stripe, payment_id)
    assert (await attempts_of(world.engine, payer))[-1].card.payment_method_id == new
    assert len([one for one in await payments(stripe, payer) if one["amount"] == 5000]) == 2
    assert await states_of(world.engine, payer) == [DECLINED, SUCCEEDED]
