"""The gate: who may start a call, and for how long."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.calls.gate import Allowance, GateStanding, NoCall, allowance
from billing.ledger.money import Currency, Money
from billing.platform_rules import PlatformRules
from billing.tariffs.tariff import Tariff, longest_call, rate_call

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
POUNDS = Tariff(
    tariff_id="default",
    currency=Currency.USD,
    rate_minor_per_minute=Decimal(70),
    increment_seconds=1,
    minimum_minor=0,
    fx_rate=Decimal("0.79"),
    wallet_currency=Currency.GBP,
    effective_from=datetime(2020, 1, 1, tzinfo=UTC),
)
RULES = PlatformRules()


def standing(balance_minor: int, debt_limit_minor: int = 500) -> GateStanding:
    return GateStanding("org", pounds(balance_minor), debt_limit_minor, NOW, [POUNDS])


def pounds(minor: int) -> Money:
    return Money(minor, Currency.GBP)


@pytest.mark.parametrize(
    ("balance_minor", "debt_limit_minor", "allowed"),
    [(79, 0, True), (78, 0, False), (-421, 500, True), (-422, 500, False), (-500, 500, False),
     (-501, 500, False), (0, 500, True)],
)  # fmt: skip
def test_a_call_starts_when_balance_and_debt_left_come_to_the_start_balance(
    balance_minor: int, debt_limit_minor: int, allowed: bool
) -> None:
    answer = allowance(standing(balance_minor, debt_limit_minor), RULES)
    assert answer.allowed is allowed
    assert answer.spendable == pounds(balance_minor + debt_limit_minor)
    assert answer.start_balance == pounds(79)
    assert answer.reason is (None if allowed else NoCall.BALANCE_TOO_LOW)


def test_an_allowed_call_lasts_as_long_as_the_wallet_can_pay() -> None:
    assert allowance(standing(79, 0), RULES) == Allowance(
        "org", allowed=True, spendable=pounds(79), start_balance=pounds(79),
        max_duration_seconds=85,
    )  # fmt: skip


def test_no_call_is_longer_than_the_platform_allows() -> None:
    rules = PlatformRules(longest_call_seconds=1800)
    assert allowance(standing(10**9), RULES).max_duration_seconds == 600
    assert allowance(standing(10**9), rules).max_duration_seconds == 1800


def test_a_wallet_with_charges_waiting_starts_no_call_however_much_it_has() -> None:
    answer = allowance(replace(standing(10**6), charges_waiting=True), RULES)
    assert (answer.allowed, answer.reason) == (False, NoCall.CHARGES_WAITING)
    assert answer.max_duration_seconds is None


def test_a_frozen_wallet_starts_no_call_and_says_why() -> None:
    frozen = replace(standing(10**6), charges_waiting=True, frozen_reason="fraud, ticket 4711")
    answer = allowance(frozen, RULES)
    assert (answer.reason, answer.frozen_reason) == (NoCall.FROZEN, "fraud, ticket 4711")


def test_without_a_tariff_no_call_starts() -> None:
    assert allowance(replace(standing(10**6), tariffs=[]), RULES).reason is NoCall.NO_TARIFF


def test_a_wallet_that_cannot_pay_ten_seconds_starts_no_call_whatever_the_start_balance() -> None:
    rules = PlatformRules(start_balance_minor=0)
    assert allowance(standing(10, 0), rules).max_duration_seconds == 10
    assert allowance(standing(9, 0), rules).reason is NoCall.BALANCE_TOO_LOW


@pytest.mark.parametrize(
    ("spendable_minor", "seconds"), [(-1, 0), (0, 0), (1, 0), (2, 1), (55, 59), (56, 60), (57, 61)]
)
def test_the_longest_call_is_the_last_that_fits(spendable_minor: int, seconds: int) -> None:
    assert longest_call(POUNDS, pounds(spendable_minor), 600) == seconds


def test_a_minimum_that_does_not_fit_leaves_no_call() -> None:
    at_least = replace(POUNDS, minimum_minor=100)
    assert longest_call(at_least, pounds(78), 600) == 0
    assert longest_call(at_least, pounds(79), 600) == 85


def test_a_call_that_costs_nothing_may_last_as_long_as_any() -> None:
    free = replace(POUNDS, rate_minor_per_minute=Decimal(0))
    assert longest_call(free, pounds(0), 600) == 600
    assert longest_call(free, pounds(-1), 600) == 0


@given(
    rate=st.decimals(0, 500, places=3),
    fx_rate=st.decimals("0.001", 200, places=3),
    increment_seconds=st.integers(1, 120),
    minimum_minor=st.integers(0, 500),
    spendable_minor=st.integers(-1000, 100_000),
    at_most_seconds=st.integers(10, 43_200),
)
def test_the_longest_call_fits_and_a_second_more_does_not(
    *,
    rate: Decimal,
    fx_rate: Decimal,
    increment_seconds: int,
    minimum_minor: int,
    spendable_minor: int,
    at_most_seconds: int,
) -> None:
    tariff = replace(
        POUNDS,
        rate_minor_per_minute=rate,
        fx_rate=fx_rate,
        increment_seconds=increment_seconds,
        minimum_minor=minimum_minor,
    )
    seconds = longest_call(tariff, pounds(spendable_minor), at_most_seconds)
    assert 0 <= seconds <= at_most_seconds
    if seconds:
        assert rate_call(tariff, Decimal(seconds)).amount.amount_minor <= spendable_minor
    if seconds < at_most_seconds:
        assert rate_call(tariff, Decimal(seconds + 1)).amount.amount_minor > spendable_minor
