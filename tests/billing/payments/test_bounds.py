"""Whatever Stripe says was paid, nothing is credited that no column holds."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.money import LARGEST_MINOR, Currency
from billing.ledger.wallet import Wallet
from billing.payments.payment import Payment, due_entries, mismatch, received

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
WALLET = Wallet("org", Currency.GBP, 0)
any_amount = st.one_of(
    st.integers(-(2**70), 2**70), st.sampled_from([0, LARGEST_MINOR, LARGEST_MINOR + 1, 2**63])
)


def paid(received_minor: int, intended_minor: int | None, expected_minor: int) -> Payment:
    return Payment(
        payment_id="pi_1",
        status="succeeded",
        currency="gbp",
        received_minor=received_minor,
        created_at=NOON,
        type="wallet_topup",
        org_id="org",
        expected_minor=expected_minor,
        intended_minor=intended_minor,
    )


@given(
    amount=any_amount,
    intended=st.none() | any_amount,
    expected=any_amount,
    fits=st.booleans(),
)
def test_no_more_is_credited_than_anybody_can_pay(
    amount: int, intended: int | None, expected: int, *, fits: bool
) -> None:
    payment = paid(amount, amount if fits else intended, amount if fits else expected)
    if mismatch(payment, WALLET) is None:
        [credit] = due_entries(payment, WALLET)
        assert 0 < credit.amount.amount_minor <= LARGEST_MINOR
    else:
        assert not fits or not 0 < amount <= LARGEST_MINOR


@given(any_amount)
def test_what_is_shown_as_paid_fits_wherever_it_is_shown(amount: int) -> None:
    shown = received(paid(amount, None, amount))
    assert shown is None or abs(shown.amount_minor) <= LARGEST_MINOR
    assert (shown is None) is (abs(amount) > LARGEST_MINOR)
