"""What happens to payments in PostgreSQL, one transaction an activity."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.payments import FetchedPayment, PaymentActivities
from billing.ledger import Outcome
from billing.payment import Mismatch, Payment, Settlement
from billing.webhook import Source, WebhookEvent
from store import inbox
from tests.factories import NOON, an_organization, balance_of, keys_of, unique


def payment_of(org_id: str) -> Payment:
    return Payment(
        payment_id=unique("pi"),
        status="succeeded",
        currency="gbp",
        received_minor=2500,
        created_at=NOON,
        type="wallet_topup",
        org_id=org_id,
        expected_minor=2500,
    )


async def settle(engine: AsyncEngine, payment: Payment, *event_keys: str) -> Settlement:
    fetched = FetchedPayment(payment, event_keys)
    return await ActivityEnvironment().run(PaymentActivities(engine).settle_payment, fetched)


async def test_a_second_settlement_of_the_same_payment_posts_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    [first] = (await settle(engine, payment)).postings
    [again] = (await settle(engine, payment)).postings
    assert (first.outcome, again.outcome) == (Outcome.APPLIED, Outcome.DUPLICATE)
    assert again.entry == first.entry
    assert await keys_of(engine, org_id) == [f"payment:{payment.payment_id}:credit"]
    assert await balance_of(engine, org_id) == 2500


async def test_the_same_payment_twenty_times_at_once_is_credited_once(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    settlements = await asyncio.gather(*(settle(engine, payment) for _ in range(20)))
    outcomes = [posting.outcome for one in settlements for posting in one.postings]
    assert (outcomes.count(Outcome.APPLIED), len(outcomes)) == (1, 20)
    assert await balance_of(engine, org_id) == 2500


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"received_minor": 2000}, Mismatch.AMOUNT_MISMATCH),
        ({"expected_minor": None}, Mismatch.AMOUNT_MISMATCH),
        ({"currency": "usd"}, Mismatch.CURRENCY_MISMATCH),
        ({"session_org_id": "another"}, Mismatch.ORGANIZATION_MISMATCH),
        ({"org_id": "nobody"}, Mismatch.UNKNOWN_ORGANIZATION),
    ],
)
async def test_a_payment_that_does_not_fit_is_not_credited(
    engine: AsyncEngine, changes: dict[str, object], problem: Mismatch
) -> None:
    org_id = await an_organization(engine)
    payment = replace(payment_of(org_id), **changes)  # type: ignore[arg-type]
    settlement = await settle(engine, payment)
    assert (settlement.mismatch, settlement.postings) == (problem, ())
    assert await balance_of(engine, org_id) == 0


async def test_a_payment_of_another_product_is_ignored(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    settlement = await settle(engine, replace(payment_of(org_id), type="subscription"))
    assert (settlement.ignored, settlement.postings) == (True, ())
    assert await balance_of(engine, org_id) == 0


async def test_a_payment_that_was_not_made_yet_is_no_mismatch(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    waiting = replace(payment_of(org_id), status="requires_action", received_minor=0)
    settlement = await settle(engine, waiting)
    assert (settlement.mismatch, settlement.postings) == (None, ())
    assert await balance_of(engine, org_id) == 0


async def test_exactly_the_events_that_were_heard_before_the_look_are_handled(
    engine_apart: AsyncEngine,
) -> None:
    payment = payment_of(await an_organization(engine_apart))
    heard, later = (
        WebhookEvent(Source.STRIPE, unique("evt"), "a", payment.payment_id, "{}") for _ in "12"
    )
    async with engine_apart.begin() as connection:
        await inbox.accept(connection, [heard, later])
    await settle(engine_apart, payment, heard.key)
    async with engine_apart.begin() as connection:
        left = await inbox.take_due(connection, 10)
    assert [event.key for event in left] == [later.key]
