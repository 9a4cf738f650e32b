"""Money: whole minor units, a named currency, and nothing lost on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import CurrencyMismatch
from billing.ledger.money import Currency, Money

AMOUNTS = st.integers(-(10**12), 10**12)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Money(0, Currency.GBP), "0.00 GBP"),
        (Money(5, Currency.GBP), "0.05 GBP"),
        (Money(-5, Currency.USD), "-0.05 USD"),
        (Money(-300, Currency.GBP), "-3.00 GBP"),
        (Money(123456, Currency.USD), "1234.56 USD"),
    ],
)
def test_money_is_written_with_its_sign_two_decimals_and_currency(amount: Money, text: str) -> None:
    assert str(amount) == text


def test_pounds_and_dollars_cannot_be_added_or_subtracted() -> None:
    pounds, dollars = Money(1, Currency.GBP), Money(1, Currency.USD)
    with pytest.raises(CurrencyMismatch):
        pounds + dollars
    with pytest.raises(CurrencyMismatch):
        pounds - dollars


@given(AMOUNTS, AMOUNTS)
def test_what_is_added_can_be_taken_away_again(first: int, second: int) -> None:
    one, other = Money(first, Currency.GBP), Money(second, Currency.GBP)
    assert one + other - other == one
    assert (one + other).amount_minor == first + second


@given(AMOUNTS)
def test_written_money_reads_back_as_the_same_amount(amount_minor: int) -> None:
    written, _, currency = str(Money(amount_minor, Currency.GBP)).partition(" ")
    assert (int(written.replace(".", "")), currency) == (amount_minor, "GBP")
