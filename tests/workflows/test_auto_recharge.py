"""A wallet that is short is recharged: once for any number of calls, and again the next time."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.adjustments import Direction
from billing.calls.call import CallState
from billing.ledger.entry import EntryKind
from billing.recharges.attempt import AttemptState
from tests.support.eventually import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    entries_of,
    keys_of,
)
from tests.support.inbox_events import drain, report_of
from tests.support.parked_workflows import attributes, ended, start_bill
from tests.support.proposals import proposed
from tests.support.recharged_payers import (
    Payer,
    a_payer,
    attempts_of,
    configure,
    handle_of,
    payments,
    recharge,
    states_of,
    until_over,
)
from tests.support.stand_ins import StripeStandIn
from workflows import adjust
from workflows.adjust import Adjust
from workflows.auto_recharge import AutoRecharge
from workflows.shared import recharge_requests

MINUTE_IN_PENCE = 56


async def credits_of(engine: AsyncEngine, payer: Payer) -> list[str]:
    return [key for key in await keys_of(engine, payer.org_id) if key.endswith(":credit")]


async def call_for(worker: Client, engine: AsyncEngine, payer: Payer, seconds: float) -> None:
    """Let a call be charged, in the lane of its own."""
    call = ended_call(await an_assistant(engine, payer.org_id), seconds)
    assert (await ended(await start_bill(worker, call))).state is CallState.SETTLED


@pytest.mark.parametrize("calls", [5, 50])
async def test_calls_that_cross_at_once_make_one_payment_and_the_next_crossing_another(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn, calls: int
) -> None:
    payer = await a_payer(engine, stripe)
    assistant = await an_assistant(engine, payer.org_id)
    at_once = [ended_call(assistant, 60) for _ in range(calls)]
    handles = await asyncio.gather(*(start_bill(worker, call) for call in at_once))
    for handle in handles:
        assert (await ended(handle)).state is CallState.SETTLED
    await until_over(worker, payer)

    async def credited() -> bool:
        return bool(await credits_of(engine, payer))

    await eventually(credited)
    [paid] = await payments(stripe, payer)
    assert paid["amount"] == paid["amount_received"] == 5000
    assert await credits_of(engine, payer) == [f"payment:{paid['id']}:credit"]
    assert await balance_of(engine, payer.org_id) == 600 + 5000 - calls * MINUTE_IN_PENCE

    left = await balance_of(engine, payer.org_id)
    await call_for(worker, engine, payer, seconds=(left - 400) / MINUTE_IN_PENCE * 60)
    await until_paid(worker, engine, payer, 2)
    assert len(await payments(stripe, payer)) == 2


async def until_paid(worker: Client, engine: AsyncEngine, payer: Payer, count: int) -> None:
    """Wait until so many payments are credited and nobody recharges any more."""

    async def credited() -> bool:
        return len(await credits_of(engine, payer)) == count

    await eventually(credited)
    await until_over(worker, payer)


async def test_a_payment_says_which_attempt_it_is_of_and_whose(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 499)
    await recharge(worker, payer)
    await until_paid(worker, engine, payer, 1)
    [paid] = await payments(stripe, payer)
    [attempt] = await attempts_of(engine, payer)
    assert paid["metadata"] == {
        "type": "wallet_auto_recharge",
        "org_id": payer.org_id,
        "amount_minor": "5000",
        "attempt_id": attempt.attempt_id,
    }
    assert (attempt.state, attempt.payment_id) == (AttemptState.SUCCEEDED, paid["id"])
    assert attempt.is_credited

    async def is_settled() -> bool:
        shown = await attributes(handle_of(worker, payer))
        return shown[:3] == ("settled", None, payer.org_id)

    await eventually(is_settled)


async def test_one_charge_covers_the_calls_that_wait_for_money_too(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 600)
    assistant = await an_assistant(engine, payer.org_id)
    dear = [ended_call(assistant, 3600) for _ in range(3)]
    for handle in [await start_bill(worker, call) for call in dear]:
        assert (await ended(handle)).state is CallState.SETTLED
    await until_over(worker, payer)
    assert await balance_of(engine, payer.org_id) >= 500
    total = sum(paid["amount_received"] for paid in await payments(stripe, payer))
    assert await balance_of(engine, payer.org_id) == 600 + total - 3 * 3318


async def test_a_batch_that_crosses_the_threshold_recharges_once(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe)
    assistant = await an_assistant(engine, payer.org_id)
    flood = [report_of(ended_call(assistant, 60)) for _ in range(40)]
    await drain(worker, engine, *flood)
    await until_paid(worker, engine, payer, 1)

    async def all_charged() -> bool:
        kinds = [entry.kind for entry in await entries_of(engine, payer.org_id)]
        return kinds.count(EntryKind.CALL) == len(flood)

    await eventually(all_charged)
    assert len(await payments(stripe, payer)) == 1
    assert await balance_of(engine, payer.org_id) == 600 + 5000 - 40 * MINUTE_IN_PENCE


async def test_who_has_it_off_is_not_recharged(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, enabled=False)
    await call_for(worker, engine, payer, 600)
    await recharge(worker, payer)
    await until_over(worker, payer)
    assert await states_of(engine, payer) == []
    assert await payments(stripe, payer) == []


async def test_a_wallet_above_its_threshold_has_nothing_done_to_it(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 500)
    await recharge(worker, payer)
    await until_over(worker, payer)
    assert await payments(stripe, payer) == []


async def test_an_organisation_that_does_not_exist_has_nothing_done_to_it(worker: Client) -> None:
    nobody = Payer("nobody", "cus_none", "pm_none")
    await ended(await recharge(worker, nobody))


async def test_a_refill_brings_the_balance_to_its_target(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 120, refill_to_minor=4000)
    await recharge(worker, payer)
    await until_paid(worker, engine, payer, 1)
    assert await balance_of(engine, payer.org_id) == 4000


async def test_a_higher_threshold_is_acted_on_at_once(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 900)
    await configure(engine, payer.org_id, threshold_minor=1000)
    await recharge(worker, payer, "changed")
    await until_paid(worker, engine, payer, 1)


async def test_a_debit_by_hand_that_leaves_a_wallet_short_has_it_recharged(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe, 900)
    asked = proposed(payer.org_id, 600, needs_approval=False)
    taken = replace(asked, direction=Direction.DEBIT)
    await ended(await worker.start_workflow(Adjust.run, taken, **adjust.start_options(taken)))
    await until_paid(worker, engine, payer, 1)


def test_what_others_call_it_by_is_its_name() -> None:
    assert AutoRecharge.__name__ == recharge_requests.WORKFLOW
    assert {recharge_requests.CROSSED, recharge_requests.CHANGED} <= vars(AutoRecharge).keys()


async def test_a_recharge_without_a_saved_card_waits_for_one(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine, 100)
    await configure(engine, org_id)
    payer = Payer(org_id, "", "")
    handle = await recharge(worker, payer)

    async def waits() -> bool:
        return (await attributes(handle))[:2] == ("parked", "no_saved_card")

    await eventually(waits)
