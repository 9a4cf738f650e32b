"""Which payments are ours, what must fit about them, and what is due for them."""

from dataclasses import replace

import pytest

from billing.ledger.entry import Entry, EntryKind, same_again
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.payments.difference import Difference, differences
from billing.payments.payment import (
    Mismatch,
    Payment,
    dispute_mismatch,
    due_entries,
    is_ours,
    mismatch,
    owner_of,
    received,
)
from billing.payments.refunds_and_disputes import Dispute, Movement, Refund
from tests.support.factories import NOON

WALLET = Wallet("org", Currency.GBP, 0)
PAYMENT = Payment(
    payment_id="pi_1",
    status="succeeded",
    currency="gbp",
    received_minor=2500,
    created_at=NOON,
    type="wallet_topup",
    org_id="org",
    session_org_id="org",
    expected_minor=2500,
)
CREDIT = Entry(
    entry_id=1,
    key="payment:pi_1:credit",
    kind=EntryKind.TOPUP,
    org_id="org",
    debit_account="stripe",
    credit_account="wallet:org",
    amount=Money(2500, Currency.GBP),
    balance_after=Money(2500, Currency.GBP),
    occurred_at=NOON,
    recorded_at=NOON,
    cause="stripe payment pi_1",
    actor="system",
)


def test_a_payment_that_fits_is_due_as_one_credit_under_its_own_key() -> None:
    assert mismatch(PAYMENT, WALLET) is None
    [credit] = due_entries(PAYMENT, WALLET)
    assert (credit.key, credit.kind) == ("payment:pi_1:credit", EntryKind.TOPUP)
    assert (credit.debit_account, credit.credit_account) == ("stripe", "wallet:org")
    assert credit.amount == Money(2500, Currency.GBP)
    assert not credit.refusable


@pytest.mark.parametrize(
    "status",
    ["requires_payment_method", "requires_action", "processing", "requires_capture", "canceled"],
)
def test_nothing_is_due_for_a_payment_that_has_not_succeeded(status: str) -> None:
    assert due_entries(replace(PAYMENT, status=status), WALLET) == []


@pytest.mark.parametrize(
    ("changes", "wallet", "expected"),
    [
        ({"session_org_id": None}, WALLET, None),
        ({"org_id": None}, WALLET, None),
        ({"session_org_id": "other"}, WALLET, Mismatch.ORGANIZATION_MISMATCH),
        ({"session_org_id": "other"}, None, Mismatch.ORGANIZATION_MISMATCH),
        ({}, None, Mismatch.UNKNOWN_ORGANIZATION),
        ({"org_id": None, "session_org_id": None}, None, Mismatch.UNKNOWN_ORGANIZATION),
        ({"currency": "usd"}, WALLET, Mismatch.CURRENCY_MISMATCH),
        ({"currency": "eur"}, WALLET, Mismatch.CURRENCY_MISMATCH),
        ({"currency": "usd"}, Wallet("org", Currency.USD, 0), None),
        ({"received_minor": 2499}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"received_minor": 2501}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"expected_minor": None}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"currency": "usd", "received_minor": 1}, WALLET, Mismatch.CURRENCY_MISMATCH),
        ({"intended_minor": 2500}, WALLET, None),
        ({"intended_minor": 2500, "received_minor": 700}, WALLET, None),
        ({"intended_minor": 2500, "received_minor": 0}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"intended_minor": 2500, "received_minor": 2501}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"intended_minor": 3000}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"intended_minor": 3000, "received_minor": 3000}, WALLET, Mismatch.AMOUNT_MISMATCH),
        ({"intended_minor": 2000, "received_minor": 2000}, WALLET, Mismatch.AMOUNT_MISMATCH),
    ],
)
def test_organisation_currency_and_amount_must_be_what_was_asked_for(
    changes: dict[str, object], wallet: Wallet | None, expected: Mismatch | None
) -> None:
    assert mismatch(replace(PAYMENT, **changes), wallet) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("paid_by", "known", "expected"),
    [
        ("cus_1", "cus_1", None),
        ("cus_1", "cus_2", Mismatch.CUSTOMER_MISMATCH),
        ("cus_1", None, None),
        (None, "cus_1", None),
        (None, None, None),
    ],
)
def test_a_payment_by_another_customer_than_the_organisations_does_not_fit(
    paid_by: str | None, known: str | None, expected: Mismatch | None
) -> None:
    assert mismatch(replace(PAYMENT, customer_id=paid_by), WALLET, known) is expected


@pytest.mark.parametrize(
    "edited",
    [
        {"org_id": "other"},
        {"session_org_id": "other"},
        {"type": "subscription"},
        {"org_id": None, "session_org_id": None, "type": None},
        {"customer_id": "cus_2"},
        {"received_minor": 700},
        {"expected_minor": None},
        {"status": "canceled", "received_minor": 0},
    ],
)
def test_once_it_is_credited_the_credit_says_whose_and_how_much(edited: dict[str, object]) -> None:
    refund = Refund("re_1", 900, NOON, "succeeded")
    later = replace(PAYMENT, refunds=(refund,), **edited)  # type: ignore[arg-type]
    assert is_ours(later, None, CREDIT)
    assert owner_of(later, CREDIT) == "org"
    assert mismatch(later, WALLET, "cus_1", CREDIT) is None
    came, back = due_entries(later, WALLET, CREDIT)
    assert came == same_again(CREDIT)
    assert (back.org_id, back.debit_account) == ("org", "wallet:org")
    assert back.cause == "stripe refund re_1 of payment pi_1"


def test_a_credit_in_another_currency_does_not_fit_for_what_goes_back_is_an_amount_in_it() -> None:
    dollars = replace(PAYMENT, currency="usd")
    assert mismatch(dollars, WALLET, None, CREDIT) is Mismatch.CURRENCY_MISMATCH


@pytest.mark.parametrize(
    ("edited", "found"),
    [
        ({}, ()),
        ({"org_id": None, "session_org_id": None, "type": None, "customer_id": None}, ()),
        ({"org_id": "other"}, (Difference.ORGANIZATION,)),
        ({"session_org_id": "other"}, (Difference.ORGANIZATION,)),
        ({"type": "subscription"}, (Difference.TYPE,)),
        ({"type": "wallet_auto_recharge"}, ()),
        ({"customer_id": "cus_2"}, (Difference.CUSTOMER,)),
        ({"received_minor": 700}, (Difference.AMOUNT,)),
        ({"status": "canceled"}, (Difference.STATUS,)),
    ],
)
def test_what_stripe_says_otherwise_of_a_credited_payment_is_a_difference(
    edited: dict[str, object], found: tuple[Difference, ...]
) -> None:
    later = replace(PAYMENT, **{"customer_id": "cus_1", **edited})  # type: ignore[arg-type]
    assert differences(later, CREDIT, "cus_1") == found


def test_a_payment_that_was_captured_in_part_credits_what_was_captured() -> None:
    part = replace(PAYMENT, received_minor=700, intended_minor=2500)
    [credit] = due_entries(part, WALLET)
    assert credit.amount == Money(700, Currency.GBP)


def test_a_dispute_in_another_currency_is_a_mismatch_of_its_own() -> None:
    moves = [Movement(f"txn_{one}", -2500, one, NOON) for one in ("gbp", "usd")]
    pounds, both = (Dispute("du_1", tuple(moves[:count])) for count in (1, 2))
    assert dispute_mismatch(PAYMENT, WALLET) is None
    assert dispute_mismatch(replace(PAYMENT, disputes=(pounds,)), WALLET) is None
    foreign = replace(PAYMENT, disputes=(both,))
    assert dispute_mismatch(foreign, WALLET) is Mismatch.DISPUTE_CURRENCY_MISMATCH
    assert mismatch(foreign, WALLET) is None


@pytest.mark.parametrize(
    ("type_", "wallet", "ours"),
    [
        ("wallet_topup", WALLET, True),
        ("wallet_auto_recharge", WALLET, True),
        ("wallet_topup", None, True),
        (None, WALLET, False),
        (None, None, False),
        ("subscription", WALLET, False),
        ("subscription", None, False),
    ],
)
def test_a_payment_is_ours_by_its_type_and_not_by_its_organisation(
    type_: str | None, wallet: Wallet | None, *, ours: bool
) -> None:
    assert is_ours(replace(PAYMENT, type=type_), wallet) is ours


@pytest.mark.parametrize(
    ("type_", "wallet", "ours"),
    [
        ("wallet_topup", None, True),
        (None, WALLET, True),
        (None, None, False),
        ("subscription", WALLET, False),
    ],
)
def test_where_it_was_so_before_a_payment_without_a_type_is_ours_by_its_organisation(
    type_: str | None, wallet: Wallet | None, *, ours: bool
) -> None:
    payment = replace(PAYMENT, type=type_)
    assert is_ours(payment, wallet, untyped_are_ours=True) is ours


def test_the_owner_is_in_the_metadata_or_else_in_the_session() -> None:
    assert replace(PAYMENT, org_id="first", session_org_id="second").owner == "first"
    assert replace(PAYMENT, org_id=None, session_org_id="second").owner == "second"


def test_money_in_a_currency_that_no_wallet_has_is_not_called_pounds() -> None:
    assert received(PAYMENT) == Money(2500, Currency.GBP)
    assert received(replace(PAYMENT, currency="usd")) == Money(2500, Currency.USD)
    assert received(replace(PAYMENT, currency="eur")) is None
