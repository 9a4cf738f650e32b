"""How bad a balance is, when it is well again, and what is told of many at once."""

from datetime import UTC, datetime

import pytest

from billing.alerts.alert import AlertLevel
from billing.alerts.balances import BalanceChange, BalanceDepth, balance_alerts, depth_of, is_well
from billing.ledger.money import Currency
from billing.ledger.wallet import Wallet

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def wallet(
    balance: int,
    limit: int = 500,
    low: int = 500,
    recharge_below: int | None = None,
    org: str = "o",
) -> Wallet:
    return Wallet(org, Currency.GBP, balance, limit, low, recharge_below)


@pytest.mark.parametrize(
    ("balance", "depth"),
    [
        (500, BalanceDepth.OK),
        (499, BalanceDepth.LOW),
        (-399, BalanceDepth.LOW),
        (-400, BalanceDepth.USED_80),
        (-449, BalanceDepth.USED_80),
        (-450, BalanceDepth.USED_90),
        (-499, BalanceDepth.USED_90),
        (-500, BalanceDepth.USED_UP),
        (-700, BalanceDepth.USED_UP),
    ],
)
def test_a_balance_is_low_and_then_uses_up_its_debt_limit(
    balance: int, depth: BalanceDepth
) -> None:
    assert depth_of(wallet(balance)) is depth


@pytest.mark.parametrize(
    ("balance", "depth"),
    [(500, BalanceDepth.OK), (1, BalanceDepth.LOW), (0, BalanceDepth.USED_UP)],
)
def test_without_a_debt_limit_an_empty_wallet_has_used_it_up(
    balance: int, depth: BalanceDepth
) -> None:
    assert depth_of(wallet(balance, limit=0)) is depth


@pytest.mark.parametrize(("balance", "depth"), [(1, BalanceDepth.OK), (-400, BalanceDepth.USED_80)])
def test_a_low_balance_that_a_saved_card_fills_up_is_not_told(
    balance: int, depth: BalanceDepth
) -> None:
    assert depth_of(wallet(balance, recharge_below=500)) is depth


@pytest.mark.parametrize(
    ("low", "balance", "well"),
    [(500, 549, False), (500, 550, True), (505, 555, False), (505, 556, True), (0, 0, False),
     (0, 1, True), (1, 2, True)],
)  # fmt: skip
def test_it_is_well_again_a_tenth_above_the_low_mark(low: int, balance: int, well: bool) -> None:
    assert is_well(wallet(balance, low=low)) is well


@pytest.mark.parametrize(
    ("told", "balance", "news"),
    [
        (BalanceDepth.OK, 600, False),
        (BalanceDepth.OK, -450, True),
        (BalanceDepth.USED_90, -450, False),
        (BalanceDepth.USED_90, -400, False),
        (BalanceDepth.USED_90, -500, True),
        (BalanceDepth.USED_90, 520, False),
        (BalanceDepth.USED_90, 550, True),
    ],
)
def test_it_is_news_when_it_is_worse_than_was_told_or_well(
    told: BalanceDepth, balance: int, news: bool
) -> None:
    assert BalanceChange(wallet(balance), told).is_news is news


@pytest.mark.parametrize(
    ("balance", "level", "title"),
    [
        (400, AlertLevel.MEDIUM, "The balance of o is low: 4.00 GBP"),
        (-400, AlertLevel.MEDIUM, "The balance of o is at 80 % of the debt limit: -4.00 GBP"),
        (-450, AlertLevel.MEDIUM, "The balance of o is at 90 % of the debt limit: -4.50 GBP"),
        (-500, AlertLevel.HIGH, "The balance of o is at the debt limit: -5.00 GBP"),
        (600, AlertLevel.INFO, "The balance of o is well again: 6.00 GBP"),
    ],
)
def test_what_is_told_of_one_organisation(balance: int, level: AlertLevel, title: str) -> None:
    [alert] = balance_alerts([BalanceChange(wallet(balance), BalanceDepth.OK)], NOON)
    assert (alert.level, alert.title, alert.org_id) == (level, title, "o")


def test_many_at_once_are_told_together_the_worst_first() -> None:
    changes = [
        BalanceChange(wallet(balance, org=f"org{number}"), BalanceDepth.OK)
        for number, balance in enumerate([400] * 8 + [-500] * 3)
    ]
    limit, low = balance_alerts(changes, NOON)
    assert limit.title == "The balances of 3 organisations are at the debt limit"
    assert [name for name, _ in limit.facts] == ["org8", "org9", "org10"]
    assert len(low.facts) == 8
    assert len(balance_alerts(changes[:10], NOON)) == 10
