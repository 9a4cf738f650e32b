"""The attempt to charge a card says whose a recharge is, whatever Stripe's metadata say by now."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.ledger.entry import Outcome
from billing.ledger.money import Currency, Money
from billing.payments.payment import RECHARGE, Mismatch, Payment
from billing.recharges.attempt import Attempt, AttemptState, Card
from billing.recharges.history import RechargeSettings
from store.ledger import wallets
from store.payments import customers
from store.recharges import recharge_settings, recharges
from tests.activities.payments.test_credited_payments import told_about
from tests.activities.payments.test_payments import payment_of, settle
from tests.support.factories import NOON, an_organization, balance_of, unique

FIFTY = Money(5000, Currency.GBP)


async def a_recharge(engine: AsyncEngine) -> tuple[Attempt, Payment]:
    """An attempt that was written down, and the payment that Stripe has made of it."""
    org_id, customer_id = await an_organization(engine), unique("cus")
    async with engine.begin() as connection:
        await customers.remember(connection, org_id, customer_id)
        await recharge_settings.configure(connection, org_id, RechargeSettings(enabled=True))
        await wallets.lock(connection, [org_id])
        card = Card(customer_id, unique("pm"), unique("finger"))
        attempt = await recharges.write_down(connection, org_id, FIFTY, card, NOON)
    paid = replace(
        payment_of(org_id),
        type=RECHARGE,
        received_minor=5000,
        expected_minor=5000,
        customer_id=customer_id,
        attempt_id=attempt.attempt_id,
    )
    return attempt, paid


async def succeeded(engine: AsyncEngine, attempt: Attempt, payment: Payment) -> None:
    async with engine.begin() as connection:
        await recharges.change(
            connection,
            attempt.attempt_id,
            state=AttemptState.SUCCEEDED,
            payment_id=payment.payment_id,
        )


@pytest.mark.parametrize("is_recorded", [False, True])
@pytest.mark.parametrize(
    ("edited", "differs"),
    [
        ({"org_id": "B"}, [("A", "organization")]),
        ({"session_org_id": "B"}, [("A", "organization")]),
        ({"org_id": None}, []),
        ({"type": "subscription"}, [("A", "type")]),
        ({"expected_minor": 1}, []),
        ({}, []),
    ],
)
async def test_a_recharge_is_credited_to_whom_it_was_written_down_for(
    engine: AsyncEngine,
    edited: dict[str, Any],
    differs: list[tuple[str, str]],
    is_recorded: bool,
) -> None:
    attempt, payment = await a_recharge(engine)
    other = await an_organization(engine)
    if is_recorded:
        await succeeded(engine, attempt, payment)
    values: dict[str, Any] = {
        name: other if value == "B" else value for name, value in edited.items()
    }
    settlement = await settle(engine, replace(payment, **values))
    assert (settlement.org_id, settlement.mismatch) == (attempt.org_id, None)
    assert [one.outcome for one in settlement.postings] == [Outcome.APPLIED]
    assert await balance_of(engine, attempt.org_id) == 5000
    assert await balance_of(engine, other) == 0
    expected = [(attempt.org_id, difference) for _, difference in differs]
    assert await told_about(engine, payment) == expected
    assert settlement.alerted == bool(expected)


async def test_a_recorded_payment_is_of_its_attempt_though_everything_of_it_was_edited(
    engine: AsyncEngine,
) -> None:
    attempt, payment = await a_recharge(engine)
    await succeeded(engine, attempt, payment)
    other = await an_organization(engine)
    edited = replace(payment, org_id=other, customer_id="cus_of_another", attempt_id=None)
    assert (await settle(engine, edited)).org_id == attempt.org_id
    assert await balance_of(engine, attempt.org_id) == 5000


async def test_metadata_that_name_the_attempt_of_another_payer_are_not_believed(
    engine: AsyncEngine,
) -> None:
    attempt, _ = await a_recharge(engine)
    other = await an_organization(engine)
    claims = replace(payment_of(other), customer_id="cus", attempt_id=attempt.attempt_id)
    assert (await settle(engine, claims)).org_id == other
    assert await balance_of(engine, attempt.org_id) == 0


async def test_a_recharge_of_another_amount_than_was_written_down_waits_for_a_person(
    engine: AsyncEngine,
) -> None:
    attempt, payment = await a_recharge(engine)
    more = replace(payment, received_minor=9000, intended_minor=9000, expected_minor=9000)
    settlement = await settle(engine, more)
    assert (settlement.org_id, settlement.mismatch) == (attempt.org_id, Mismatch.AMOUNT_MISMATCH)
