"""A payment's process: whatever happens at Stripe, and in whatever order it is heard of."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from billing.calls.call import CallState
from billing.inbox.webhook_event import PaymentHint
from billing.payments.payment import Settlement, payment_workflow_id
from processes import webhook_events
from store.payments import payments
from tests.support.eventually import eventually
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    keys_of,
    unique,
)
from tests.support.inbox_events import accept, drain, event_of, is_handled
from tests.support.parked_workflows import (
    attributes,
    discard,
    ended,
    page,
    reprocess,
    start_bill,
    tries,
    until_parked,
)
from tests.support.recharged_payers import stripe_fails
from tests.support.stand_ins import StripeStandIn
from workflows import settle_payment
from workflows.settle_payment import SettlePayment

Payment = WorkflowHandle[SettlePayment, Settlement | None]


def hint_about(payment_id: str) -> PaymentHint:
    return PaymentHint(payment_id, unique("evt"))


async def hear(worker: Client, hint: PaymentHint) -> Payment:
    """Hear of an event as the API does: start its process, or signal the one that runs."""
    await webhook_events.start(worker, event_of(hint))
    return worker.get_workflow_handle_for(SettlePayment.run, payment_workflow_id(hint.payment_id))


async def settle(worker: Client, payment_id: str) -> Settlement:
    settlement = await ended(await hear(worker, hint_about(payment_id)))
    assert settlement is not None
    return settlement


async def test_a_top_up_is_credited_and_says_so(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    handle = await hear(worker, hint_about(payment_id))
    await ended(handle)
    assert await attributes(handle) == ("settled", None, org_id, 2500)
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit"]
    assert await balance_of(engine, org_id) == 2500


async def test_an_event_that_starts_its_process_is_one_look(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment(await an_organization(engine), 2500)
    event = event_of(hint_about(payment_id), due_in_seconds=3600.0)
    await accept(engine, event)
    handle = await hear(worker, PaymentHint(payment_id, event.key))
    await ended(handle)
    assert await tries(handle, "fetch_payment") == 1
    assert await is_handled(engine, event)


async def test_a_start_that_hints_twice_as_those_of_version_0_1_did_is_one_look(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payment_id = await stripe.payment(await an_organization(engine), 2500)
    event = event_of(hint_about(payment_id), due_in_seconds=3600.0)
    await accept(engine, event)
    hint = PaymentHint(payment_id, event.key)
    handle = await worker.start_workflow(
        SettlePayment.run,
        hint,
        start_signal="look_again",
        start_signal_args=[hint],
        **settle_payment.start_options(hint.payment_id),
    )
    await ended(handle)
    assert await tries(handle, "fetch_payment") == 1
    assert await is_handled(engine, event)


@pytest.mark.parametrize("at_once", [True, False])
async def test_both_events_of_a_checkout_credit_it_once_and_are_both_handled(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn, *, at_once: bool
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.checkout(org_id, 2500, type="wallet_topup")
    hints = [hint_about(payment_id), hint_about(payment_id)]
    await accept(engine, *(event_of(hint, due_in_seconds=3600.0) for hint in hints))
    if at_once:
        for handle in await asyncio.gather(*(hear(worker, hint) for hint in hints)):
            await ended(handle)
    else:
        for hint in hints:
            await ended(await hear(worker, hint))
    assert await is_handled(engine, *(event_of(hint) for hint in hints))
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit"]
    assert await balance_of(engine, org_id) == 2500


async def test_an_event_that_comes_before_the_money_leaves_the_credit_to_the_next(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500, card="pm_card_authenticationRequired")
    assert (await settle(worker, payment_id)).postings == ()
    assert await balance_of(engine, org_id) == 0
    await stripe.authenticate(payment_id)
    assert len((await settle(worker, payment_id)).postings) == 1
    assert await balance_of(engine, org_id) == 2500


async def test_an_event_during_the_look_makes_it_look_again(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    await stripe.misbehave(payment_id, kind="delay", seconds=600)
    events = [event_of(hint_about(payment_id), due_in_seconds=3600.0) for _ in range(2)]
    await accept(engine, *events)
    for event in events:
        handle = await hear(worker, PaymentHint(payment_id, event.key))
    await stripe.behave()
    await ended(handle)
    assert await is_handled(engine, *events)
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit"]


@pytest.mark.parametrize(
    ("paid", "reason", "at_risk"),
    [
        ({"paid_minor": 2000, "amount_minor": "2500"}, "amount_mismatch", 2000),
        ({"paid_minor": 2500, "amount_minor": "much"}, "amount_mismatch", 2500),
        ({"paid_minor": 2500, "currency": "usd"}, "currency_mismatch", 2500),
        ({"paid_minor": 2500, "currency": "eur"}, "currency_mismatch", None),
    ],
)
async def test_a_payment_that_does_not_fit_parks_and_credits_nothing(
    worker: Client,
    engine: AsyncEngine,
    stripe: StripeStandIn,
    *,
    paid: dict[str, str],
    reason: str,
    at_risk: int | None,
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, **paid)  # type: ignore[arg-type]
    handle = await hear(worker, hint_about(payment_id))
    assert await until_parked(handle, reason) == ("parked", reason, org_id, at_risk)
    assert f"from {payment_id} for {org_id}" in await page(handle)
    assert f"--workflow-id payment/{payment_id} --name discard" in await page(handle)
    assert str(await reprocess(handle, "Ann: just looking")).startswith(f"parked: {reason}")
    assert (await discard(handle, "Ann: refunded it")).state == "discarded"
    assert await ended(handle) is None
    assert await balance_of(engine, org_id) == 0


async def test_a_payment_that_names_two_organisations_parks(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    payment_id = await stripe.checkout(one, 2500, org_id=other, type="wallet_topup")
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "organization_mismatch")
    assert await balance_of(engine, one) == await balance_of(engine, other) == 0


async def test_a_payment_of_an_organisation_that_comes_later_is_credited_then(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = unique("org")
    handle = await hear(worker, hint_about(await stripe.payment(org_id, 2500)))
    await until_parked(handle, "unknown_organization")
    await an_organization(engine, org_id=org_id)
    assert (await reprocess(handle, "Ann: created it")).state == "settled"
    assert await balance_of(engine, org_id) == 2500


async def test_a_new_event_wakes_a_parked_payment(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = unique("org")
    payment_id = await stripe.payment(org_id, 2500)
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "unknown_organization")
    await an_organization(engine, org_id=org_id)
    await hear(worker, hint_about(payment_id))
    await ended(handle)
    assert await balance_of(engine, org_id) == 2500


async def test_a_payment_of_another_product_is_left_alone(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    settlement = await settle(worker, await stripe.payment(org_id, 2500, type="subscription"))
    assert settlement.ignored
    assert await balance_of(engine, org_id) == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status_after", "status": 500},
        {"kind": "status", "status": 429, "retry_after": 1},
        {"kind": "reset"},
    ],
)
async def test_an_outage_of_stripe_delays_a_credit_and_does_not_double_it(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn, fault: dict[str, object]
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    await stripe.misbehave(payment_id, **fault)
    handle = await hear(worker, hint_about(payment_id))
    await ended(handle)
    assert await tries(handle, "fetch_payment") == 1
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit"]
    assert await balance_of(engine, org_id) == 2500


async def test_a_top_up_settles_the_calls_that_waited_for_it_oldest_first(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    unpaid = [
        ended_call(assistant, 1800, ended_at=NOON + timedelta(hours=hour)) for hour in range(3)
    ]
    handles = [await start_bill(worker, call) for call in reversed(unpaid)]
    for handle in handles:
        await until_parked(handle, "debt_limit")
    payment_id = await stripe.payment(org_id, 2 * 1659)
    await settle(worker, payment_id)

    youngest, *older = handles
    for handle in older:
        assert (await ended(handle)).state is CallState.SETTLED
    assert await attributes(youngest) == ("parked", "debt_limit", org_id, 1659)
    assert await keys_of(engine, org_id) == [
        f"payment:{payment_id}:credit",
        f"call:{unpaid[0].call_id}",
        f"call:{unpaid[1].call_id}",
    ]
    assert await balance_of(engine, org_id) == 0


async def test_a_payment_that_stripe_does_not_know_parks_and_its_event_is_done_with(
    worker: Client, engine: AsyncEngine
) -> None:
    hint = hint_about(unique("pi"))
    await drain(worker, engine, event_of(hint))
    handle = worker.get_workflow_handle(payment_workflow_id(hint.payment_id))
    await until_parked(handle, "payment_missing")
    assert f"Stripe has no payment {hint.payment_id}" in await page(handle)
    assert (await discard(handle, "Ann: of the test account")).state == "discarded"
    assert await is_handled(engine, event_of(hint))


async def test_a_first_404_of_stripe_is_not_final(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    path = f"/v1/payment_intents/{payment_id}"
    await stripe_fails(stripe, "GET", path, kind="status", status=404, times=2)
    hint = hint_about(payment_id)
    await drain(worker, engine, event_of(hint))
    handle = worker.get_workflow_handle(payment_workflow_id(payment_id))
    await ended(handle)
    assert await attributes(handle) == ("settled", None, org_id, 2500)
    assert await balance_of(engine, org_id) == 2500


async def test_who_reprocesses_while_a_try_is_under_way_hears_of_one_that_began_afterwards(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    """The one that is under way has looked at Stripe already, before the payment was corrected."""
    one, other = [await an_organization(engine) for _ in range(2)]
    payment_id = await stripe.checkout(one, 2500, type="wallet_topup", org_id=other)
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "organization_mismatch")
    async with engine.begin() as holding:
        await payments.lock(holding, payment_id)
        await handle.signal("wake_up", "an event has come")
        assert await eventually(lambda: somebody_waits_for_a_lock(engine))
        await stripe.edit(payment_id, org_id=one)
        told = asyncio.create_task(reprocess(handle, "Ann: corrected"))
        await until_accepted(handle)
    assert (await told).state == "settled"
    assert await balance_of(engine, one) == 2500


async def somebody_waits_for_a_lock(engine: AsyncEngine) -> bool:
    query = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
        " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    async with engine.connect() as connection:
        return bool(await connection.scalar(query))


async def until_accepted(handle: WorkflowHandle[Any, Any]) -> None:
    async def is_accepted() -> bool:
        events = (await handle.fetch_history()).events
        accepted = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
        return any(one.event_type == accepted for one in events)

    assert await eventually(is_accepted)


async def test_events_of_a_payment_that_cannot_be_posted_wait_in_its_process_and_go_with_it(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    """Its balance would overflow. The drain would wake its process every minute, for ever."""
    org_id = await an_organization(engine)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE wallets SET balance_minor = 9223372036854775807 WHERE org_id = :org_id"),
            {"org_id": org_id},
        )
    payment_id = await stripe.payment(org_id, 2500)
    event = event_of(hint_about(payment_id), due_in_seconds=3600.0)
    await accept(engine, event)
    handle = await hear(worker, PaymentHint(payment_id, event.key))
    await until_parked(handle, "fault")
    assert await is_handled(engine, event)
    await discard(handle, "Ann: nobody has so much")
    await ended(handle)
    assert await keys_of(engine, org_id) == []


async def test_more_than_anybody_can_pay_parks_and_is_not_credited(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2**63)
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "amount_mismatch")
    await discard(handle, "Ann: a mistake")
    assert await keys_of(engine, org_id) == []
