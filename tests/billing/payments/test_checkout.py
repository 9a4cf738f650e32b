"""A checkout session: when it is over, and when it is looked at although nothing is heard of it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from billing.ledger.money import Currency, Money
from billing.payments.checkout import CheckoutSession, CheckoutStatus, look_after
from tests.support.factories import NOON

DAY = timedelta(days=1)
SESSION = CheckoutSession(
    session_id="cs_1",
    url="https://checkout.stripe.com/c/pay/cs_1",
    expires_at=NOON + DAY,
    amount=Money(2500, Currency.GBP),
    status=CheckoutStatus.OPEN,
)


@pytest.mark.parametrize("status", list(CheckoutStatus))
def test_a_session_is_over_when_it_can_neither_be_paid_nor_become_paid(
    status: CheckoutStatus,
) -> None:
    can_be = (CheckoutStatus.OPEN, CheckoutStatus.PROCESSING)
    assert replace(SESSION, status=status).is_over is (status not in can_be)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOON, DAY + timedelta(minutes=2)),
        (NOON + DAY, timedelta(minutes=2)),
        (NOON + DAY + timedelta(minutes=2), timedelta(minutes=10)),
        (NOON + 30 * DAY, timedelta(minutes=10)),
    ],
)
def test_an_open_session_is_looked_at_when_it_must_have_expired(
    now: object, expected: timedelta
) -> None:
    assert look_after(SESSION, now) == expected  # type: ignore[arg-type]


def test_a_payment_that_is_under_way_is_looked_at_once_a_day() -> None:
    processing = replace(SESSION, status=CheckoutStatus.PROCESSING)
    assert look_after(processing, NOON) == look_after(processing, NOON + 9 * DAY) == DAY
