"""A charge is decided when it is sent: what Stripe never got is not charged out of old reasons."""

from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType

from billing.recharges.attempt import ARRIVES_WITHIN, AttemptState
from store.calls import gate
from store.organizations import api_keys
from store.payments import disputes
from tests.support.eventually import eventually
from tests.support.factories import balance_of, unique
from tests.support.parked_workflows import page, until_parked
from tests.support.recharged_payers import (
    Payer,
    Recharge,
    a_payer,
    attempts_of,
    charges_fail,
    configure,
    payments,
    recharge,
    save_card,
    states_of,
    top_up,
    until_over,
    until_states,
)
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World
from wiring import PROVIDER_TIMEOUT_SECONDS
from workflows.shared.options import ONCE

SUCCEEDED, ABANDONED = AttemptState.SUCCEEDED, AttemptState.ABANDONED
# How long Stripe works at a request: the time-out of its own libraries.
AT_STRIPE = timedelta(seconds=80)


async def unsent(world: World, stripe: StripeStandIn) -> tuple[Payer, Recharge]:
    """A payer whose card was to be charged, of which Stripe has heard nothing."""
    payer = await a_payer(world.engine, stripe, 400)
    await charges_fail(stripe, kind="status", status=503)
    handle = await recharge(world.temporal, payer)
    await until_parked(handle, "fault")
    return payer, handle


async def change(world: World, stripe: StripeStandIn, payer: Payer, what: str) -> None:
    match what:
        case "switched off":
            await configure(world.engine, payer.org_id, enabled=False)
        case "topped up":
            await top_up(world.temporal, stripe, payer)
        case "a smaller amount":
            await configure(world.engine, payer.org_id, amount_minor=2000)
        case "another card":
            await save_card(stripe, payer.customer_id)
        case "frozen":
            async with world.engine.begin() as connection:
                key, _ = await api_keys.issue(connection, "an operator's", None)
                await gate.freeze(connection, payer.org_id, "chargebacks", key.key_id)
        case "disputed":
            async with world.engine.begin() as connection:
                await disputes.note(
                    connection, payer.org_id, unique("pi"), unique("du"), is_open=True
                )
    await recharge(world.temporal, payer, "changed")


@pytest.mark.parametrize("what", ["switched off", "topped up"])
async def test_what_stripe_never_got_is_not_charged_when_it_is_not_due_any_more(
    world: World, stripe: StripeStandIn, what: str
) -> None:
    payer, handle = await unsent(world, stripe)
    await change(world, stripe, payer, what)
    await world.let_pass(handle, timedelta(hours=2))
    await until_over(world.temporal, payer)
    assert await states_of(world.engine, payer) == [ABANDONED]
    assert await payments(stripe, payer) == []


@pytest.mark.parametrize(
    ("what", "reason"), [("frozen", "organization_frozen"), ("disputed", "dispute_open")]
)
async def test_what_stripe_never_got_is_not_charged_while_no_card_may_be(
    world: World, stripe: StripeStandIn, what: str, reason: str
) -> None:
    payer, handle = await unsent(world, stripe)
    await change(world, stripe, payer, what)
    await world.let_pass(handle, timedelta(hours=2))
    await until_parked(handle, reason)
    assert await states_of(world.engine, payer) == [ABANDONED]
    assert await payments(stripe, payer) == []


@pytest.mark.parametrize(
    ("what", "paid_minor"), [("a smaller amount", 2000), ("another card", 5000)]
)
async def test_what_would_be_charged_otherwise_by_now_is_charged_otherwise(
    world: World, stripe: StripeStandIn, what: str, paid_minor: int
) -> None:
    payer, handle = await unsent(world, stripe)
    await change(world, stripe, payer, what)
    await world.let_pass(handle, timedelta(hours=2))
    await until_states(world.engine, payer, [ABANDONED, SUCCEEDED])
    [paid] = await payments(stripe, payer)
    is_by_old_card = paid["payment_method"] == payer.card_id
    assert (paid["amount"], is_by_old_card) == (paid_minor, what != "another card")


async def test_an_attempt_is_given_up_only_when_nothing_of_it_can_arrive_any_more(
    world: World, stripe: StripeStandIn
) -> None:
    payer, handle = await unsent(world, stripe)
    await configure(world.engine, payer.org_id, enabled=False)
    await recharge(world.temporal, payer, "changed")

    async def is_not_sent_again() -> bool:
        return "is not due any more" in await page(handle)

    await eventually(is_not_sent_again)
    [attempt] = await attempts_of(world.engine, payer)
    assert attempt.sent_at is not None
    assert f"**Until:** {attempt.sent_at + ARRIVES_WITHIN:%Y-%m-%d %H:%M:%S}" in await page(handle)
    late = {
        "amount": "5000",
        "currency": "gbp",
        "customer": payer.customer_id,
        "payment_method": payer.card_id,
        "confirm": "true",
        "metadata[type]": "wallet_auto_recharge",
        "metadata[attempt_id]": attempt.attempt_id,
    }
    (await stripe.http.post("/v1/payment_intents", data=late)).raise_for_status()
    await world.let_pass(handle, ARRIVES_WITHIN)
    await until_states(world.engine, payer, [SUCCEEDED])

    async def is_credited() -> bool:
        return await balance_of(world.engine, payer.org_id) == 5400

    await eventually(is_credited)


def test_nothing_arrives_later_than_the_bound_says() -> None:
    sending = ONCE["schedule_to_start_timeout"] + ONCE["start_to_close_timeout"]
    asking = timedelta(seconds=PROVIDER_TIMEOUT_SECONDS) + AT_STRIPE
    assert sending + asking < ARRIVES_WITHIN
    assert ONCE["retry_policy"].maximum_attempts == 1


async def test_a_charge_waits_no_longer_for_a_worker_than_it_was_decided_for(
    world: World, stripe: StripeStandIn
) -> None:
    payer = await a_payer(world.engine, stripe, 400)
    handle = await recharge(world.temporal, payer)
    await until_states(world.engine, payer, [SUCCEEDED])
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    [charge] = [one for one in scheduled if one.activity_type.name == "charge_card"]
    assert charge.schedule_to_start_timeout.ToTimedelta() == timedelta(minutes=1)
