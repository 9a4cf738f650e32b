"""Which wallets people are told of: those that changed, and no others, however many there are."""

import random
from dataclasses import replace

from sqlalchemy import insert, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.alerts.balances import BalanceChange, BalanceDepth
from billing.ledger.money import Currency
from billing.ledger.wallet import Wallet
from store.alerts import alerts, balances
from store.schema import organizations, wallets
from tests.support.factories import an_organization, credit


async def changes(engine: AsyncEngine) -> list[BalanceChange]:
    async with engine.connect() as connection:
        return await balances.changed(connection)


async def tell(engine: AsyncEngine) -> list[tuple[str, BalanceDepth]]:
    """Have what has changed told; answers with what that was."""
    found = await changes(engine)
    async with engine.begin() as connection:
        await alerts.set_depths(connection, {one.alarm: one.depth for one in found})
    return [(one.wallet.org_id, one.depth) for one in found]


async def has(engine: AsyncEngine, org_id: str, balance_minor: int) -> None:
    """Let a wallet have this balance, whatever the ledger says."""
    async with engine.begin() as connection:
        changed = update(wallets).where(wallets.c.org_id == org_id)
        await connection.execute(changed.values(balance_minor=balance_minor))


async def test_a_wallet_is_told_of_once_each_time_it_gets_worse_and_when_it_is_well(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, 1000)
    told = list[BalanceDepth]()
    for balance in (499, 300, -10, -410, -500, -450, -900, 510, 400, 550, 499, -500, 5000):
        await has(engine_apart, org_id, balance)
        told += [depth for _, depth in await tell(engine_apart)]
    assert told == [
        BalanceDepth.LOW,
        BalanceDepth.USED_80,
        BalanceDepth.USED_UP,
        BalanceDepth.OK,
        BalanceDepth.LOW,
        BalanceDepth.USED_UP,
        BalanceDepth.OK,
    ]


async def test_a_wallet_with_as_much_as_a_column_holds_keeps_no_other_from_being_told(
    engine_apart: AsyncEngine,
) -> None:
    rich, in_debt, low = [await an_organization(engine_apart, 1000) for _ in range(3)]
    await has(engine_apart, rich, 2**63 - 1)
    await has(engine_apart, in_debt, -(2**63 - 1))
    await has(engine_apart, low, 499)
    told = sorted([(in_debt, BalanceDepth.USED_UP), (low, BalanceDepth.LOW)])
    assert await tell(engine_apart) == told


async def test_an_organisation_that_never_paid_is_not_told_of(engine_apart: AsyncEngine) -> None:
    new = await an_organization(engine_apart)
    assert await tell(engine_apart) == []
    await credit(engine_apart, new, 100)
    assert await tell(engine_apart) == [(new, BalanceDepth.LOW)]


async def test_other_alarms_of_the_same_organisation_are_none_of_the_balance(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, 100)
    async with engine_apart.begin() as connection:
        await alerts.set_depths(connection, {f"reliability:vapi:{org_id}": 4})
    assert await tell(engine_apart) == [(org_id, BalanceDepth.LOW)]


async def test_of_thousands_only_those_that_changed_are_read(engine_apart: AsyncEngine) -> None:
    """And PostgreSQL says the same of each as the domain does."""
    dice = random.Random(13)
    known = [_any_wallet(dice, f"org{number:04}") for number in range(3000)]
    async with engine_apart.begin() as connection:
        await connection.execute(
            insert(organizations), [{"org_id": one.org_id, "name": ""} for one in known]
        )
        await connection.execute(insert(wallets), [_row(one) for one in known])
        await connection.execute(
            text(
                "INSERT INTO ledger_entries (key, kind, org_id, debit_account, credit_account,"
                " amount_minor, currency, balance_after_minor, occurred_at, cause, actor)"
                " SELECT org_id, 'topup', org_id, 'stripe', 'wallet:' || org_id, 1, 'gbp', 1,"
                " now(), '', '' FROM organizations"
            )
        )
    told = dict.fromkeys((one.org_id for one in known), BalanceDepth.OK)
    for _ in range(4):
        expected = [BalanceChange(one, told[one.org_id]) for one in known]
        found = await changes(engine_apart)
        assert found == [one for one in expected if one.is_news]
        assert found
        told |= await tell(engine_apart)
        assert await changes(engine_apart) == []
        known = [replace(one, balance_minor=_any_balance(dice)) for one in known]
        async with engine_apart.begin() as connection:
            await connection.execute(
                text("CREATE TEMP TABLE new (id text, minor bigint) ON COMMIT DROP")
            )
            await connection.execute(
                text("INSERT INTO new VALUES (:id, :minor)"),
                [{"id": one.org_id, "minor": one.balance_minor} for one in known],
            )
            await connection.execute(
                text("UPDATE wallets SET balance_minor = minor FROM new WHERE org_id = id")
            )


def _any_balance(dice: random.Random) -> int:
    return dice.choice([dice.randint(-1100, 1200), -500, -450, -400, 0, 499, 500, 549, 550])


def _any_wallet(dice: random.Random, org_id: str) -> Wallet:
    return Wallet(
        org_id,
        Currency.GBP,
        _any_balance(dice),
        debt_limit_minor=dice.choice([0, 1, 333, 500, 1000]),
        low_balance_minor=dice.choice([0, 1, 333, 500]),
        recharge_below_minor=dice.choice([None, None, 500]),
    )


def _row(wallet: Wallet) -> dict[str, object]:
    return {
        "org_id": wallet.org_id,
        "currency": wallet.currency,
        "balance_minor": wallet.balance_minor,
        "debt_limit_minor": wallet.debt_limit_minor,
        "low_balance_minor": wallet.low_balance_minor,
        "recharge_below_minor": wallet.recharge_below_minor,
    }
