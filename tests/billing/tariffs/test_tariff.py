"""What a call costs: every second up to two hours, and which tariff applies when."""

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import NoTariff
from billing.ledger.money import Currency, Money
from billing.tariffs.tariff import Tariff, rate_call, tariff_at

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
TABLE = Path(__file__).with_name("call_charges.csv")


def tariff(
    tariff_id: str = "default",
    *,
    wallet_currency: Currency = Currency.GBP,
    org_id: str | None = None,
    effective_from: datetime = EPOCH,
    increment_seconds: int = 1,
    minimum_minor: int = 0,
) -> Tariff:
    return Tariff(
        tariff_id=tariff_id,
        currency=Currency.USD,
        rate_minor_per_minute=Decimal(70),
        increment_seconds=increment_seconds,
        minimum_minor=minimum_minor,
        fx_rate=Decimal("0.79") if wallet_currency is Currency.GBP else Decimal(1),
        wallet_currency=wallet_currency,
        effective_from=effective_from,
        org_id=org_id,
    )


POUNDS, DOLLARS = tariff(), tariff(wallet_currency=Currency.USD)


def pence(seconds: Decimal) -> int:
    return rate_call(POUNDS, seconds).amount.amount_minor


def test_every_second_up_to_two_hours_costs_what_the_table_says() -> None:
    with TABLE.open() as file:
        rows = [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]
    computed = [
        {
            "seconds": row["seconds"],
            "usd_cents": rate_call(DOLLARS, Decimal(row["seconds"])).amount.amount_minor,
            "gbp_pence": rate_call(POUNDS, Decimal(row["seconds"])).amount.amount_minor,
        }
        for row in rows
    ]
    assert len(rows) == 7201
    assert computed == rows


@pytest.mark.parametrize(
    ("seconds", "charged"),
    [
        (1, 2), (15, 15), (30, 28), (59, 55), (60, 56), (61, 57), (90, 83), (91, 85), (120, 111),
        (180, 166), (210, 194), (300, 277), (600, 553), (1800, 1659), (3600, 3318),
    ],
)  # fmt: skip
def test_a_call_costs_what_the_examples_say(seconds: int, charged: int) -> None:
    charge = rate_call(POUNDS, Decimal(seconds))
    assert charge.amount == Money(charged, Currency.GBP)
    assert charge.billed_seconds == seconds


def test_a_charge_explains_its_arithmetic() -> None:
    assert rate_call(POUNDS, Decimal(61)).explain() == (
        "61 s = 0.72 USD, charged as 0.57 GBP (default)"
    )


def test_a_second_that_has_begun_is_charged() -> None:
    assert pence(Decimal("60.000001")) == pence(Decimal(61)) == 57


def test_an_increment_that_has_begun_is_charged_whole() -> None:
    by_the_minute = tariff(increment_seconds=60)
    assert rate_call(by_the_minute, Decimal(61)) == rate_call(by_the_minute, Decimal(120))
    assert rate_call(by_the_minute, Decimal(61)).billed_seconds == 120


def test_the_minimum_applies_to_every_call_that_took_any_time() -> None:
    at_least_a_dollar = tariff(minimum_minor=100)
    assert rate_call(at_least_a_dollar, Decimal(1)).rated == Money(100, Currency.USD)
    assert rate_call(at_least_a_dollar, Decimal(1)).amount == Money(79, Currency.GBP)
    assert rate_call(at_least_a_dollar, Decimal(600)).rated == Money(700, Currency.USD)
    assert rate_call(at_least_a_dollar, Decimal(0)).amount == Money(0, Currency.GBP)


@given(st.decimals(0, 10**6, places=6))
def test_no_charge_is_below_the_exact_price_or_a_minor_unit_above_it(seconds: Decimal) -> None:
    charge = rate_call(POUNDS, seconds)
    exact_cents = Fraction(70 * charge.billed_seconds, 60)
    assert 0 <= charge.billed_seconds - Fraction(seconds) < 1
    assert 0 <= charge.rated.amount_minor - exact_cents < 1
    exact_pence = Fraction("0.79") * charge.rated.amount_minor
    assert 0 <= charge.amount.amount_minor - exact_pence < 1


@given(st.decimals(0, 10**6, places=3), st.decimals(0, 10**6, places=3))
def test_a_longer_call_never_costs_less(one: Decimal, other: Decimal) -> None:
    shorter, longer = sorted((one, other))
    assert pence(shorter) <= pence(longer)


def test_the_newest_tariff_in_effect_applies_from_its_first_instant_on() -> None:
    first, second = tariff("first"), tariff("second", effective_from=EPOCH + timedelta(days=365))
    change = second.effective_from
    before = tariff_at([second, first], "org", Currency.GBP, change - timedelta(microseconds=1))
    assert before is first
    assert tariff_at([first, second], "org", Currency.GBP, change) is second


def test_an_organisations_own_tariff_goes_before_a_newer_default() -> None:
    own = tariff("own", org_id="org")
    newer_default = tariff("newer", effective_from=EPOCH + timedelta(days=365))
    moment = EPOCH + timedelta(days=400)
    assert tariff_at([newer_default, own], "org", Currency.GBP, moment) is own
    assert tariff_at([newer_default, own], "another", Currency.GBP, moment) is newer_default


def test_an_own_tariff_that_is_not_yet_in_effect_leaves_the_default() -> None:
    default = tariff()
    own = tariff("own", org_id="org", effective_from=EPOCH + timedelta(days=365))
    assert tariff_at([own, default], "org", Currency.GBP, EPOCH) is default


@pytest.mark.parametrize(
    "given_tariffs",
    [
        [],
        [tariff(effective_from=EPOCH + timedelta(seconds=1))],
        [tariff(wallet_currency=Currency.USD)],
        [tariff(org_id="another")],
    ],
)
def test_without_a_tariff_of_the_wallets_currency_in_effect_the_call_is_refused(
    given_tariffs: list[Tariff],
) -> None:
    with pytest.raises(NoTariff, match=r"no gbp tariff for org at 2020-01-01T00:00:00\+00:00"):
        tariff_at(given_tariffs, "org", Currency.GBP, EPOCH)
