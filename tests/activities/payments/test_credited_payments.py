"""Once a payment is credited, its entry decides whose it is, whatever Stripe says by now."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.payments.payments import DiscardedPayment, PaymentActivities
from billing.ledger.entry import Outcome
from billing.payments.payment import Mismatch, Payment
from billing.payments.refunds_and_disputes import Dispute, Movement, Refund
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.ledger import wallets
from store.payments import customers, disputes, payments
from store.recharges import recharges
from tests.activities.payments.test_payments import payment_of, settle
from tests.support.factories import NOON, an_organization, balance_of, keys_of, unique


def refund_of(amount_minor: int) -> Refund:
    return Refund(unique("re"), amount_minor, NOON, "succeeded")


def dispute_of(amount_minor: int, currency: str = "gbp") -> Dispute:
    moved = Movement(unique("txn"), -amount_minor, currency, NOON)
    return Dispute(unique("du"), (moved,), "needs_response")


async def discard(engine: AsyncEngine, payment: Payment) -> None:
    decision = DiscardedPayment(payment.payment_id, "Ann: done by hand")
    await ActivityEnvironment().run(
        PaymentActivities(engine, PlatformRules()).discard_payment, decision
    )


async def is_frozen(engine: AsyncEngine, org_id: str) -> bool:
    async with engine.connect() as connection:
        wallet = await wallets.wallet_of(connection, org_id)
        return (await recharges.history(connection, wallet, NOON)).is_disputed


async def told_about(engine: AsyncEngine, payment: Payment) -> list[tuple[str | None, str]]:
    """Whose the alerts about a payment are, and in what they say that it differs."""
    async with engine.connect() as connection:
        stored = await alerts.page(connection, None, 1000)
    prefix = f"payment/{payment.payment_id}/differs/"
    mine = [one.alert for one in stored if one.alert.key.startswith(prefix)]
    return [(one.org_id, one.key.removeprefix(prefix)) for one in mine]


@pytest.mark.parametrize(
    ("edited", "differs"),
    [
        ({"org_id": "B"}, "organization"),
        ({"session_org_id": "B"}, "organization"),
        ({"org_id": "nobody"}, "organization"),
        ({"type": "subscription"}, "type"),
        ({"type": None, "org_id": None}, None),
        ({"customer_id": "cus_of_another"}, "customer"),
        ({"expected_minor": 1}, None),
        ({"received_minor": 2000}, "amount"),
        ({"status": "canceled", "received_minor": 0}, "amount+status"),
    ],
)
async def test_what_goes_back_is_taken_from_whom_it_was_credited_to_and_that_is_told_once(
    engine: AsyncEngine, edited: dict[str, Any], differs: str | None
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    payment = replace(payment_of(one), customer_id=unique("cus"))
    async with engine.begin() as connection:
        await customers.remember(connection, one, str(payment.customer_id))
    await settle(engine, payment)
    named: dict[str, Any] = {
        name: other if value == "B" else value for name, value in edited.items()
    }
    refund, dispute = refund_of(900), dispute_of(1600)
    later = replace(payment, **named, refunds=(refund,), disputes=(dispute,))
    for is_news in (True, False):
        settlement = await settle(engine, later)
        assert (settlement.ignored, settlement.mismatch) == (False, None)
        assert (settlement.org_id, settlement.amount) == (one, settlement.postings[0].entry.amount)  # type: ignore[union-attr]
        assert settlement.alerted is (is_news and differs is not None)
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (0, 0)
    assert await keys_of(engine, one) == [
        f"payment:{payment.payment_id}:credit",
        f"refund:{refund.refund_id}",
        f"dispute:{dispute.dispute_id}",
    ]
    assert (await is_frozen(engine, one), await is_frozen(engine, other)) == (True, False)
    assert await told_about(engine, payment) == ([(one, differs)] if differs else [])


async def test_a_dispute_that_was_kept_for_another_freezes_whom_the_payment_was_credited_to(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    dispute = dispute_of(2500)
    payment = replace(payment_of(one), disputes=(dispute,))
    async with engine.begin() as connection:
        await disputes.note(connection, other, payment.payment_id, dispute.dispute_id, is_open=True)
    await settle(engine, payment)
    assert (await is_frozen(engine, one), await is_frozen(engine, other)) == (True, False)


async def test_settlements_at_once_that_read_different_owners_agree_on_one(
    engine: AsyncEngine,
) -> None:
    """An edit between two reads: each of them has a refund to post, and a wallet to post it on."""
    one, other = await an_organization(engine), await an_organization(engine)
    payment = replace(payment_of(one), refunds=(refund_of(1000),))
    moved = replace(payment, org_id=other)
    settlements = await asyncio.gather(
        *(settle(engine, payment if number % 2 else moved) for number in range(20))
    )
    [owner] = {settlement.org_id for settlement in settlements}
    balances = {org_id: await balance_of(engine, org_id) for org_id in (one, other)}
    assert balances == {one: 0, other: 0} | {owner: 1500}
    outcomes = Counter(posting.outcome for each in settlements for posting in each.postings)
    assert outcomes == {Outcome.APPLIED: 2, Outcome.DUPLICATE: 38}


async def test_refunds_of_a_payment_in_another_currency_than_its_credit_wait_for_a_person(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    await settle(engine, payment)
    settlement = await settle(engine, replace(payment, currency="usd", refunds=(refund_of(1000),)))
    assert (settlement.mismatch, settlement.postings) == (Mismatch.CURRENCY_MISMATCH, ())
    assert settlement.credit is not None
    assert await balance_of(engine, org_id) == 2500


async def test_a_payment_that_was_given_up_uncredited_never_is_whatever_becomes_of_it(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    await discard(engine, payment)
    refunded = replace(payment, refunds=(refund_of(1000),))
    for seen in (payment, refunded, replace(payment, expected_minor=1)):
        settlement = await settle(engine, seen)
        assert (settlement.given_up, settlement.mismatch, settlement.postings) == (True, None, ())
    assert await keys_of(engine, org_id) == []


async def test_what_goes_back_of_a_credited_payment_is_posted_though_it_was_given_up(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    dollars = replace(payment, disputes=(dispute_of(2500, "usd"),))
    assert (await settle(engine, dollars)).mismatch is Mismatch.DISPUTE_CURRENCY_MISMATCH
    await discard(engine, payment)
    settlement = await settle(engine, replace(payment, refunds=(refund_of(1000),)))
    assert (settlement.given_up, settlement.mismatch) == (False, None)
    assert await balance_of(engine, org_id) == 1500


async def test_a_payment_is_credited_or_given_up_and_never_both(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    async with engine.begin() as connection:
        await payments.lock(connection, payment.payment_id)
        settling = asyncio.create_task(settle(engine, payment))
        done, _ = await asyncio.wait([settling], timeout=0.3)
        assert not done
        await payments.discard(connection, payment.payment_id, "Ann: refunded it")
    assert (await settling).given_up
    assert await keys_of(engine, org_id) == []


async def test_who_gives_a_payment_up_waits_for_whoever_decides_about_it(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    payment = payment_of(org_id)
    async with engine.begin() as connection:
        await payments.lock(connection, payment.payment_id)
        discarding = asyncio.create_task(discard(engine, payment))
        done, _ = await asyncio.wait([discarding], timeout=0.3)
        assert not done
    await discarding
    assert (await settle(engine, payment)).given_up
