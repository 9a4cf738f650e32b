"""What happens to payments in PostgreSQL, one transaction an activity."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.payments.payments import FetchedPayment, PaymentActivities
from billing.inbox.webhook_event import Drain, Source, WebhookEvent
from billing.ledger.entry import EntryKind, Outcome
from billing.payments.payment import Mismatch, Payment, Settlement
from billing.payments.refunds_and_disputes import Dispute, Movement, Refund
from billing.platform_rules import PlatformRules
from store.inbox import inbox
from store.payments import customers
from tests.support.factories import NOON, an_organization, balance_of, keys_of, unique


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
    return await ActivityEnvironment().run(
        PaymentActivities(engine, PlatformRules()).settle_payment, fetched
    )


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


async def test_a_payment_by_another_customer_is_credited_only_until_the_right_one_is_known(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    mine, others = unique("cus"), unique("cus")
    before = replace(payment_of(org_id), customer_id=others)
    assert (await settle(engine, before)).mismatch is None
    async with engine.begin() as connection:
        await customers.remember(connection, org_id, mine)
    after = replace(payment_of(org_id), customer_id=others)
    settlement = await settle(engine, after)
    assert (settlement.mismatch, settlement.postings) == (Mismatch.CUSTOMER_MISMATCH, ())
    assert (await settle(engine, replace(after, customer_id=mine))).mismatch is None
    assert await balance_of(engine, org_id) == 5000


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


async def test_refunds_and_disputes_take_the_wallet_below_its_limit(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    payment = payment_of(org_id)
    await settle(engine, payment)
    refund = Refund(unique("re"), 1500, NOON, "succeeded")
    withdrawn = Movement(unique("txn"), -2500, "gbp", NOON)
    dispute = Dispute(unique("du"), (withdrawn,))
    back = replace(payment, refunds=(refund,), disputes=(dispute,))
    outcomes = [posting.outcome for posting in (await settle(engine, back)).postings]
    assert outcomes == [Outcome.DUPLICATE, Outcome.APPLIED, Outcome.APPLIED]
    assert await balance_of(engine, org_id) == -1500
    reinstated = Movement(unique("txn"), 2500, "gbp", NOON)
    won = replace(back, disputes=(replace(dispute, movements=(withdrawn, reinstated)),))
    for _ in range(2):
        await settle(engine, won)
    assert await keys_of(engine, org_id) == [
        f"payment:{payment.payment_id}:credit",
        f"refund:{refund.refund_id}",
        f"dispute:{dispute.dispute_id}",
        f"dispute:{dispute.dispute_id}:reversal",
    ]
    assert await balance_of(engine, org_id) == 1000


async def test_a_refund_that_failed_before_anybody_looked_is_posted_with_its_reversal(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    refund = Refund(unique("re"), 2500, NOON, "failed")
    settlement = await settle(engine, replace(payment_of(org_id), refunds=(refund,)))
    _, taken, given_back = (posting.entry for posting in settlement.postings)
    assert taken
    assert given_back
    assert (taken.kind, given_back.kind) == (EntryKind.REFUND, EntryKind.REFUND_REVERSAL)
    assert given_back.reverses == taken.key
    assert await balance_of(engine, org_id) == 2500


async def test_a_refund_of_a_payment_that_does_not_fit_posts_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    refund = Refund(unique("re"), 2000, NOON, "succeeded")
    wrong = replace(payment_of(org_id), received_minor=2000, refunds=(refund,))
    settlement = await settle(engine, wrong)
    assert (settlement.mismatch, settlement.postings) == (Mismatch.AMOUNT_MISMATCH, ())
    assert await keys_of(engine, org_id) == []


async def test_a_dispute_in_another_currency_is_left_to_a_person_and_all_else_is_posted(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    dispute = Dispute(unique("du"), (Movement(unique("txn"), -2500, "usd", NOON),))
    payment = replace(payment_of(org_id), disputes=(dispute,))
    settlement = await settle(engine, payment)
    assert settlement.mismatch is Mismatch.DISPUTE_CURRENCY_MISMATCH
    assert await keys_of(engine, org_id) == [f"payment:{payment.payment_id}:credit"]
    assert await balance_of(engine, org_id) == 2500


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
        left = await inbox.take_due(connection, Drain.INBOX, 10)
    assert [event.key for event in left] == [later.key]
