"""The ledger in PostgreSQL: one entry a key for ever, never changed, and balances that add up."""

import asyncio
import random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.ledger.entry import Outcome, Posting, Transfer
from billing.ledger.money import Currency, Money
from store.ledger import ledger
from tests.support.crowd import crowd
from tests.support.factories import (
    an_organization,
    balance_of,
    charge_of,
    credit,
    credit_of,
    keys_of,
    unique,
    wallet_of,
)


async def post(engine: AsyncEngine, *transfers: Transfer) -> list[Posting]:
    async with engine.begin() as connection:
        return await ledger.post(connection, transfers)


async def proven_balance(engine: AsyncEngine, org_id: str) -> int:
    """The balance according to the entries alone."""
    query = text(
        "SELECT coalesce(sum(CASE WHEN credit_account = :wallet THEN amount_minor"
        " ELSE -amount_minor END), 0) FROM ledger_entries"
        " WHERE :wallet IN (credit_account, debit_account)"
    )
    async with engine.connect() as connection:
        found = await connection.scalar(query, {"wallet": f"wallet:{org_id}"})
    return int(found)


def pounds(amount_minor: int) -> Money:
    return Money(amount_minor, Currency.GBP)


async def test_the_debt_limit_cases_one_after_another(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 100)

    [first] = await post(engine, charge_of(org_id, 400))
    assert (first.outcome, first.balance_after) == (Outcome.APPLIED, pounds(-300))
    assert (await wallet_of(engine, org_id)).debt_left == pounds(200)

    [second] = await post(engine, charge_of(org_id, 600))
    assert (second.outcome, second.entry) == (Outcome.REFUSED, None)
    assert second.refusal is not None
    assert second.balance_before == second.balance_after == pounds(-300)
    assert (second.refusal.would_be, second.refusal.over_by) == (pounds(-900), pounds(400))
    assert await balance_of(engine, org_id) == -300

    [third] = await post(engine, charge_of(org_id, 200))
    assert (third.outcome, third.balance_after) == (Outcome.APPLIED, pounds(-500))
    assert (await wallet_of(engine, org_id)).debt_left == pounds(0)

    [fourth] = await post(engine, charge_of(org_id, 1))
    assert fourth.outcome is Outcome.REFUSED
    assert fourth.refusal is not None
    assert fourth.refusal.would_be == pounds(-501)
    assert await proven_balance(engine, org_id) == await balance_of(engine, org_id) == -500


async def test_the_limit_is_the_organisations_own(engine: AsyncEngine) -> None:
    generous = await an_organization(engine, debt_limit_minor=1000)
    strict = await an_organization(engine, debt_limit_minor=0)
    postings = await post(engine, charge_of(generous, 1000), charge_of(strict, 1))
    assert [one.outcome for one in postings] == [Outcome.APPLIED, Outcome.REFUSED]


async def test_an_entry_reads_back_as_the_transfer_that_made_it(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 100)
    transfer = charge_of(org_id, 40)
    [posting] = await post(engine, transfer)
    async with engine.connect() as connection:
        [newest, _] = await ledger.page(connection, org_id, None, 10)
        by_key = await ledger.by_keys(connection, [transfer.key])
    assert posting.entry == newest == by_key[transfer.key]
    assert (newest.amount, newest.balance_after) == (transfer.amount, pounds(60))
    assert (newest.debit_account, newest.credit_account) == (f"wallet:{org_id}", "usage:calls")
    assert newest.occurred_at == transfer.occurred_at


async def test_the_same_key_again_posts_nothing_and_shows_the_entry_of_then(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 100)
    transfer = charge_of(org_id, 40)
    [first] = await post(engine, transfer)
    await post(engine, credit_of(org_id, 5))
    [again] = await post(engine, transfer)
    assert (again.outcome, again.entry) == (Outcome.DUPLICATE, first.entry)
    assert again.balance_before == again.balance_after == pounds(65)
    assert await proven_balance(engine, org_id) == await balance_of(engine, org_id) == 65


async def test_the_same_charge_fifty_times_at_once_is_one_entry_and_one_debit(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 1000)
    transfer = charge_of(org_id, 40)
    answers = await crowd(post(engine, transfer) for _ in range(50))
    outcomes = [posting.outcome for [posting] in answers]
    assert (outcomes.count(Outcome.APPLIED), outcomes.count(Outcome.DUPLICATE)) == (1, 49)
    assert len({posting.entry for [posting] in answers}) == 1
    assert await keys_of(engine, org_id) == [transfer.key]
    assert await proven_balance(engine, org_id) == await balance_of(engine, org_id) == 960


async def test_charges_at_once_stop_exactly_at_the_limit(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    answers = await asyncio.gather(*(post(engine, charge_of(org_id, 30)) for _ in range(40)))
    outcomes = [posting.outcome for [posting] in answers]
    assert outcomes.count(Outcome.APPLIED) == 500 // 30
    assert outcomes.count(Outcome.REFUSED) == 40 - 500 // 30
    assert await proven_balance(engine, org_id) == await balance_of(engine, org_id) == -480


async def test_sets_that_share_wallets_in_any_order_do_not_deadlock(engine: AsyncEngine) -> None:
    org_ids = [await an_organization(engine) for _ in range(6)]
    dice = random.Random(7)
    sets = [[credit_of(one, 1) for one in dice.sample(org_ids, 6)] for _ in range(40)]
    answers = await asyncio.gather(*(post(engine, *transfers) for transfers in sets))
    assert {posting.outcome for postings in answers for posting in postings} == {Outcome.APPLIED}
    assert {await balance_of(engine, org_id) for org_id in org_ids} == {40}


async def test_a_set_is_decided_in_order_and_a_refusal_does_not_stop_the_rest(
    engine: AsyncEngine,
) -> None:
    org_id, other = await an_organization(engine), await an_organization(engine)
    postings = await post(
        engine,
        charge_of(org_id, 400),
        charge_of(org_id, 200),
        charge_of(other, 10),
        charge_of(org_id, 100),
        credit_of(org_id, 300),
        charge_of(org_id, 200),
    )
    refused, applied = Outcome.REFUSED, Outcome.APPLIED
    assert [one.outcome for one in postings] == [
        applied, refused, applied, applied, applied, applied,
    ]  # fmt: skip
    assert [one.balance_after.amount_minor for one in postings] == [
        -400, -400, -10, -500, -200, -400,
    ]  # fmt: skip
    assert await proven_balance(engine, org_id) == await balance_of(engine, org_id) == -400


async def test_what_a_failed_transaction_posted_is_gone_with_it(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    async with engine.connect() as connection:
        await ledger.post(connection, [credit_of(org_id, 100)])
        await connection.rollback()
    assert (await proven_balance(engine, org_id), await balance_of(engine, org_id)) == (0, 0)


async def test_entries_are_listed_newest_first_page_by_page(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    await post(engine, *(credit_of(org_id, amount) for amount in range(1, 6)))
    async with engine.connect() as connection:
        first = await ledger.page(connection, org_id, None, 2)
        second = await ledger.page(connection, org_id, first[-1].entry_id, 2)
        third = await ledger.page(connection, org_id, second[-1].entry_id, 2)
    amounts = [[entry.amount.amount_minor for entry in page] for page in (first, second, third)]
    assert amounts == [[5, 4], [3, 2], [1]]


@pytest.mark.parametrize("table", ["ledger_entries", "tariffs"])
@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE {} SET currency = 'usd'", "UPDATE refused"),
        ("DELETE FROM {}", "DELETE refused"),
        ("TRUNCATE {}", "TRUNCATE refused"),
        ("TRUNCATE {} CASCADE", "TRUNCATE refused"),
        ("TRUNCATE organizations CASCADE", "TRUNCATE refused"),
    ],
)
async def test_entries_and_tariffs_cannot_be_changed_or_removed(
    engine: AsyncEngine, table: str, statement: str, refused: str
) -> None:
    await credit(engine, await an_organization(engine), 1)
    async with engine.begin() as connection:
        with pytest.raises(IntegrityError, match=f"is append-only: {refused}"):
            await connection.execute(text(statement.format(table)))
        await connection.rollback()


@pytest.mark.parametrize("amount_minor", [0, -1])
async def test_an_entry_of_nothing_or_less_cannot_be_made(
    engine: AsyncEngine, amount_minor: int
) -> None:
    org_id = await an_organization(engine)
    with pytest.raises(IntegrityError, match="ledger_entries_amount_positive"):
        await post(engine, credit_of(org_id, amount_minor))
    assert await balance_of(engine, org_id) == 0


async def test_a_key_cannot_be_used_twice_even_within_one_set(engine: AsyncEngine) -> None:
    org_id, key = await an_organization(engine), unique("key")
    with pytest.raises(IntegrityError, match="ledger_entries_key_key"):
        await post(engine, credit_of(org_id, 1, key), credit_of(org_id, 1, key))
    assert await balance_of(engine, org_id) == 0
