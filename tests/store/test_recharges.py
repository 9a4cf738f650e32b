"""Recharges as PostgreSQL keeps them: attempts under numbers of their own, one at a time."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.ledger.entry import payment_credit_key
from billing.ledger.money import Currency, Money
from billing.recharges.attempt import Attempt, AttemptState, Card
from billing.recharges.history import RechargeHistory, RechargeSettings, Suspension
from store.ledger import ledger, wallets
from store.payments import disputes, payments
from store.recharges import recharge_settings, recharges
from tests.support.factories import NOON, an_organization, credit_of, unique, wallet_of

FIFTY = Money(5000, Currency.GBP)


def a_card() -> Card:
    return Card(unique("cus"), unique("pm"), unique("finger"))


async def configured(engine: AsyncEngine, **settings: Any) -> str:
    org_id = await an_organization(engine)
    async with engine.begin() as connection:
        await recharge_settings.configure(
            connection, org_id, RechargeSettings(enabled=True, **settings)
        )
    return org_id


async def written(engine: AsyncEngine, org_id: str, card: Card) -> Attempt:
    async with engine.begin() as connection:
        await wallets.lock(connection, [org_id])
        return await recharges.write_down(connection, org_id, FIFTY, card, NOON)


async def changed(engine: AsyncEngine, attempt_id: str, **values: object) -> Attempt | None:
    async with engine.begin() as connection:
        return await recharges.change(connection, attempt_id, **values)


async def standing_of(
    engine: AsyncEngine, org_id: str, fingerprint: str | None = None
) -> RechargeHistory:
    wallet = await wallet_of(engine, org_id)
    async with engine.connect() as connection:
        return await recharges.history(connection, wallet, NOON, fingerprint)


async def test_settings_put_the_threshold_on_the_wallet_and_take_it_off_again(
    engine: AsyncEngine,
) -> None:
    org_id = await configured(engine, threshold_minor=700)
    assert (await wallet_of(engine, org_id)).recharge_below_minor == 700
    assert (await standing_of(engine, org_id)).settings.threshold_minor == 700
    async with engine.begin() as connection:
        await recharge_settings.configure(connection, org_id, RechargeSettings())
    assert (await wallet_of(engine, org_id)).recharge_below_minor is None
    assert not (await standing_of(engine, org_id)).settings.enabled


async def test_who_never_asked_for_it_has_it_off(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    assert await standing_of(engine, org_id) == RechargeHistory(
        await wallet_of(engine, org_id), RechargeSettings()
    )


async def test_attempts_are_numbered_and_each_is_found_as_it_was_written(
    engine: AsyncEngine,
) -> None:
    org_id, card = await configured(engine), a_card()
    first = await written(engine, org_id, card)
    assert (first.attempt_id, first.state) == (f"recharge-{org_id}-1", AttemptState.OPEN)
    await changed(engine, first.attempt_id, state=AttemptState.DECLINED, code="lost_card")
    second = await written(engine, org_id, card)
    assert second.attempt_id == f"recharge-{org_id}-2"
    found = await standing_of(engine, org_id)
    assert found.own == [
        replace(first, state=AttemptState.DECLINED, code="lost_card"), second
    ]  # fmt: skip


@pytest.mark.parametrize("state", [AttemptState.OPEN, AttemptState.REQUIRES_ACTION])
async def test_an_organisation_has_one_attempt_under_way_at_most(
    engine: AsyncEngine, state: AttemptState
) -> None:
    org_id = await configured(engine)
    first = await written(engine, org_id, a_card())
    await changed(engine, first.attempt_id, state=state)
    with pytest.raises(IntegrityError):
        await written(engine, org_id, a_card())


async def test_of_many_who_write_at_once_one_does(engine: AsyncEngine) -> None:
    org_id = await configured(engine)
    all_of_them = (written(engine, org_id, a_card()) for _ in range(10))
    done = await asyncio.gather(*all_of_them, return_exceptions=True)
    assert sum(isinstance(one, Attempt) for one in done) == 1


async def test_what_is_over_is_not_changed_again(engine: AsyncEngine) -> None:
    org_id = await configured(engine)
    one = await written(engine, org_id, a_card())
    assert await changed(engine, one.attempt_id, state=AttemptState.SUCCEEDED, payment_id="pi_1")
    assert await changed(engine, one.attempt_id, state=AttemptState.DECLINED) is None
    assert (await standing_of(engine, org_id)).own[0].state is AttemptState.SUCCEEDED


async def test_a_payment_is_on_its_way_until_it_is_in_the_ledger(engine: AsyncEngine) -> None:
    org_id, payment_id = await configured(engine), unique("pi")
    one = await written(engine, org_id, a_card())
    await changed(engine, one.attempt_id, state=AttemptState.SUCCEEDED, payment_id=payment_id)
    assert len((await standing_of(engine, org_id)).uncredited) == 1
    async with engine.begin() as connection:
        await ledger.post(connection, [credit_of(org_id, 5000, payment_credit_key(payment_id))])
    assert (await standing_of(engine, org_id)).uncredited == []


async def test_a_payment_that_was_given_up_is_not_on_its_way_any_more(engine: AsyncEngine) -> None:
    org_id, payment_id = await configured(engine), unique("pi")
    one = await written(engine, org_id, a_card())
    await changed(engine, one.attempt_id, state=AttemptState.SUCCEEDED, payment_id=payment_id)
    async with engine.begin() as connection:
        await payments.discard(connection, payment_id, "Ann: refunded it")
    assert (await standing_of(engine, org_id)).uncredited == []


async def test_a_cards_tries_elsewhere_are_read_with_it(engine: AsyncEngine) -> None:
    one, other, card = await configured(engine), await configured(engine), a_card()
    await written(engine, other, card)
    assert (await standing_of(engine, one)).attempts == ()
    found = await standing_of(engine, one, card.fingerprint)
    assert ([each.org_id for each in found.attempts], found.own) == ([other], [])


async def test_attempts_of_another_month_are_left_out_unless_they_are_under_way(
    engine: AsyncEngine,
) -> None:
    org_id = await configured(engine)
    old = await written(engine, org_id, a_card())
    wallet = await wallet_of(engine, org_id)
    async with engine.begin() as connection:
        later = NOON + timedelta(days=40)
        assert (await recharges.history(connection, wallet, later)).under_way == old
        await recharges.change(connection, old.attempt_id, state=AttemptState.ABANDONED)
        assert (await recharges.history(connection, wallet, later)).attempts == ()


async def test_lifting_forgives_the_declines_so_far(engine: AsyncEngine) -> None:
    org_id, card = await configured(engine), a_card()
    one = await written(engine, org_id, card)
    await changed(engine, one.attempt_id, state=AttemptState.DECLINED)
    suspension = Suspension("lost_card", NOON, card.fingerprint)
    async with engine.begin() as connection:
        await recharge_settings.suspend(connection, org_id, suspension)
    assert (await standing_of(engine, org_id)).suspension == suspension
    async with engine.begin() as connection:
        await recharge_settings.lift(connection, org_id)
    found = await standing_of(engine, org_id)
    assert (found.suspension, found.lifted_number) == (None, 1)


async def test_a_dispute_is_open_until_it_is_said_to_be_over(engine: AsyncEngine) -> None:
    org_id, dispute = await configured(engine), unique("du")
    for is_open in (True, True, False):
        async with engine.begin() as connection:
            await disputes.note(connection, org_id, "pi", dispute, is_open=is_open)
        assert (await standing_of(engine, org_id)).is_disputed is is_open
