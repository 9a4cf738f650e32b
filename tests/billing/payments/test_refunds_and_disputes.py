"""What refunds and disputes call for: the same entries, whatever was seen of them and when."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.entry import Account, EntryKind, Transfer
from billing.ledger.money import Currency
from billing.ledger.wallet import Wallet, decide_all
from billing.payments.payment import Payment, due_entries
from billing.payments.refunds_and_disputes import Dispute, Movement, Refund
from tests.support.factories import NOON

WALLET = Wallet("org", Currency.GBP, 0)
PAID = Payment("pi_1", "succeeded", "gbp", 2500, NOON, org_id="org", expected_minor=2500)
UNPAID = replace(PAID, status="requires_payment_method", received_minor=0)

Ledger = dict[str, Transfer]


def refund(status: str = "succeeded", amount_minor: int = 1000, number: int = 1) -> Refund:
    return Refund(f"re_{number}", amount_minor, NOON + timedelta(hours=number), status)


def dispute(*amounts_minor: int, number: int = 1, currency: str = "gbp") -> Dispute:
    moves = (
        Movement(f"txn_{number}_{n}", amount, currency, NOON + timedelta(days=n))
        for n, amount in enumerate(amounts_minor)
    )
    return Dispute(f"du_{number}", tuple(moves))


def with_(payment: Payment, *parts: Refund | Dispute) -> Payment:
    """The payment with these refunds and disputes, and no others."""
    return replace(
        payment,
        refunds=tuple(one for one in parts if isinstance(one, Refund)),
        disputes=tuple(one for one in parts if isinstance(one, Dispute)),
    )


def ledger_after(seen: Iterable[Sequence[Transfer]]) -> Ledger:
    """Post what is due for each state in turn; a key that exists stays as it is."""
    ledger: Ledger = {}
    for due in seen:
        ledger = {entry.key: entry for entry in due} | ledger
    return ledger


def balance_of(ledger: Ledger) -> int:
    last = decide_all({"org": WALLET}, ledger.values(), {})[-1:]
    return sum(one.balance_after.amount_minor for one in last)


def shown(payment: Payment) -> list[tuple[str, str, str, int, str | None]]:
    return [
        (one.key, one.debit_account, one.credit_account, one.amount.amount_minor, one.reverses)
        for one in due_entries(payment, WALLET)
    ]


CREDIT = ("payment:pi_1:credit", "stripe", "wallet:org", 2500, None)
REFUND = ("refund:re_1", "wallet:org", "stripe", 1000, None)
REFUND_BACK = ("refund:re_1:reversal", "stripe", "wallet:org", 1000, "refund:re_1")
DISPUTE = ("dispute:du_1", "wallet:org", "disputes", 1500, None)
DISPUTE_BACK = ("dispute:du_1:reversal", "disputes", "wallet:org", 1500, "dispute:du_1")


@pytest.mark.parametrize("status", ["pending", "requires_action", "succeeded", None])
def test_a_refund_is_taken_at_once_also_while_it_is_pending(status: str | None) -> None:
    paid_back = replace(refund(), status=status, is_booked=status == "succeeded")
    assert shown(with_(PAID, paid_back)) == [CREDIT, REFUND]


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_a_refund_that_was_undone_is_taken_and_given_back(status: str) -> None:
    assert shown(with_(PAID, refund(status))) == [CREDIT, REFUND, REFUND_BACK]


def test_a_dispute_takes_what_was_withdrawn_and_gives_back_what_was_reinstated() -> None:
    assert shown(with_(PAID, dispute())) == [CREDIT]
    assert shown(with_(PAID, dispute(-1500))) == [CREDIT, DISPUTE]
    assert shown(with_(PAID, dispute(-1500, 1500))) == [CREDIT, DISPUTE, DISPUTE_BACK]


def test_what_is_given_back_may_be_less_than_what_was_taken() -> None:
    partly = ("dispute:du_1:reversal", "disputes", "wallet:org", 900, "dispute:du_1")
    assert shown(with_(PAID, dispute(-1500, 900))) == [CREDIT, DISPUTE, partly]


def test_a_dispute_that_is_lost_on_appeal_takes_again_under_a_key_of_its_own() -> None:
    again = ("dispute:du_1:2", "wallet:org", "disputes", 1500, None)
    back = ("dispute:du_1:2:reversal", "disputes", "wallet:org", 1500, "dispute:du_1:2")
    appealed = shown(with_(PAID, dispute(-1500, 1500, -1500, 1500)))
    assert appealed == [CREDIT, DISPUTE, DISPUTE_BACK, again, back]


def test_what_moved_within_one_second_is_taken_before_it_is_given_back() -> None:
    there, back = dispute(-1500, 1500).movements
    at_once = Dispute("du_1", (replace(back, moved_at=there.moved_at), there))
    assert shown(with_(PAID, at_once)) == [CREDIT, DISPUTE, DISPUTE_BACK]


def test_a_return_names_its_own_withdrawal_however_fast_the_next_one_follows() -> None:
    moves = dispute(-1500, 1500, -1500).movements
    at_once = Dispute("du_1", tuple(replace(move, moved_at=NOON) for move in moves))
    assert set(shown(with_(PAID, at_once))) == set(shown(with_(PAID, dispute(-1500, 1500, -1500))))


def test_what_comes_back_in_two_parts_both_times_names_the_only_withdrawal() -> None:
    parts = shown(with_(PAID, dispute(-1500, 500, 1000)))
    assert [(key, reverses) for key, *_, reverses in parts[2:]] == [
        ("dispute:du_1:reversal", "dispute:du_1"),
        ("dispute:du_1:2:reversal", "dispute:du_1"),
    ]


def test_money_that_moved_in_another_currency_is_not_posted_as_pounds() -> None:
    assert shown(with_(PAID, dispute(-1500, 1500, currency="usd"))) == [CREDIT]


def test_none_is_refusable_for_the_money_has_moved() -> None:
    everything = due_entries(with_(PAID, refund("failed"), dispute(-1500, 1500)), WALLET)
    assert not any(entry.refusable for entry in everything)
    assert [entry.kind for entry in everything] == [
        EntryKind.TOPUP,
        EntryKind.REFUND,
        EntryKind.REFUND_REVERSAL,
        EntryKind.DISPUTE,
        EntryKind.DISPUTE_REVERSAL,
    ]
    assert Account.DISPUTES in {entry.credit_account for entry in everything}


def test_nothing_is_due_for_what_was_never_captured() -> None:
    waiting = replace(UNPAID, status="requires_capture")
    released = replace(refund(), is_booked=False)
    for status in ("requires_capture", "canceled"):
        assert shown(with_(replace(waiting, status=status), released)) == []


def test_the_rest_of_a_capture_in_part_is_no_refund_and_a_refund_of_it_is() -> None:
    part = replace(PAID, intended_minor=4000, expected_minor=4000)
    released = replace(refund(amount_minor=1500, number=2), is_booked=False)
    assert shown(with_(part, released)) == [CREDIT]
    assert shown(with_(part, released, refund())) == [CREDIT, REFUND]
    assert shown(with_(part, released, replace(refund("pending"), is_booked=False))) == [
        CREDIT,
        REFUND,
    ]


def test_a_refund_of_a_whole_payment_counts_before_it_is_booked() -> None:
    whole = replace(PAID, intended_minor=2500)
    assert shown(with_(whole, replace(refund(), is_booked=False))) == [CREDIT, REFUND]


# ---- any order, any repetition, any gap

HISTORIES: dict[str, list[Payment]] = {
    "a dispute that is lost": [
        PAID,
        with_(PAID, refund()),
        with_(PAID, refund(), dispute()),
        with_(PAID, refund(), dispute(-1500)),
    ],
    "a dispute that is won": [
        PAID,
        with_(PAID, refund()),
        with_(PAID, refund(), dispute(-1500)),
        with_(PAID, refund(), dispute(-1500, 1500)),
    ],
    "a refund that fails while a dispute is lost on appeal": [
        with_(PAID, refund("pending")),
        with_(PAID, refund(), dispute(-2500)),
        with_(PAID, refund("failed"), dispute(-2500, 2500)),
        with_(PAID, refund("failed"), dispute(-2500, 2500, -2500)),
    ],
}
BALANCES = dict(zip(HISTORIES, (0, 1500, 0), strict=True))


@pytest.mark.parametrize("name", HISTORIES)
def test_every_order_of_what_was_seen_twice_ends_in_one_ledger(name: str) -> None:
    due = [due_entries(payment, WALLET) for payment in HISTORIES[name]]
    expected = ledger_after(due[-1:])
    assert balance_of(expected) == BALANCES[name]
    for order in permutations(due * 2):
        assert ledger_after(order) == expected


@pytest.mark.parametrize("name", HISTORIES)
def test_every_gap_in_what_was_seen_ends_in_the_same_ledger(name: str) -> None:
    *earlier, last = (due_entries(payment, WALLET) for payment in HISTORIES[name])
    for count in range(len(earlier) + 1):
        for seen in combinations(earlier, count):
            for order in permutations((*seen, last)):
                assert ledger_after(order) == ledger_after([last])


REFUND_LIVES = [
    ["pending"], ["succeeded"], ["pending", "succeeded"], ["pending", "failed"],
    ["succeeded", "failed"], ["pending", "succeeded", "failed"], ["requires_action", "canceled"],
]  # fmt: skip
AMOUNTS = st.integers(1, 2500)


@st.composite
def lives(draw: st.DrawFn) -> list[Payment]:
    """The states that one payment goes through: each of its parts takes one step at a time."""
    steps = [draw(refund_lives(number)) for number in range(draw(st.integers(0, 3)))]
    steps += [draw(dispute_lives(number)) for number in range(draw(st.integers(0, 2)))]
    turns = draw(st.permutations([n for n, life in enumerate(steps) for _ in life]))
    states, parts = [UNPAID, PAID], dict[int, Refund | Dispute]()
    for number in turns:
        parts[number] = steps[number].pop(0)
        states.append(with_(PAID, *parts.values()))
    return states


@st.composite
def refund_lives(draw: st.DrawFn, number: int) -> list[Refund | Dispute]:
    amount_minor = draw(AMOUNTS)
    return [refund(one, amount_minor, number) for one in draw(st.sampled_from(REFUND_LIVES))]


@st.composite
def dispute_lives(draw: st.DrawFn, number: int) -> list[Refund | Dispute]:
    signs = (-1, 1, -1, 1)[: draw(st.integers(0, 4))]
    amounts = [sign * draw(AMOUNTS) for sign in signs]
    return [dispute(*amounts[:cut], number=number) for cut in range(len(amounts) + 1)]


@given(lives(), st.data())
def test_whatever_is_seen_of_any_payment_its_last_state_decides_the_ledger(
    states: list[Payment], data: st.DataObject
) -> None:
    seen = data.draw(st.lists(st.sampled_from(states), max_size=2 * len(states)))
    last = data.draw(st.integers(0, len(seen)))
    order = [*seen[:last], states[-1], *seen[last:]]
    ledger = ledger_after(due_entries(payment, WALLET) for payment in order)
    assert ledger == ledger_after([due_entries(states[-1], WALLET)])
