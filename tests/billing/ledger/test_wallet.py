"""The debt limit, and what any sequence of transfers does to any set of wallets."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import CurrencyMismatch
from billing.ledger.entry import Entry, Outcome, Posting, Transfer, wallet_account
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import TransferDecision, Wallet, decide, decide_all, is_short
from tests.support.factories import NOON, charge_of, credit_of

ORGANIZATIONS = ("a", "b", "c")


def pounds(amount_minor: int) -> Money:
    return Money(amount_minor, Currency.GBP)


def wallet(balance_minor: int, org_id: str = "a", debt_limit_minor: int = 500) -> Wallet:
    return Wallet(org_id, Currency.GBP, balance_minor, debt_limit_minor)


def after(before: Wallet, decision: TransferDecision) -> Wallet:
    return replace(before, balance_minor=decision.balance_after.amount_minor)


def entry_of(transfer: Transfer, balance_after: Money) -> Entry:
    return Entry(
        entry_id=1,
        key=transfer.key,
        kind=transfer.kind,
        org_id=transfer.org_id,
        debit_account=transfer.debit_account,
        credit_account=transfer.credit_account,
        amount=transfer.amount,
        balance_after=balance_after,
        occurred_at=NOON,
        recorded_at=NOON,
        cause=transfer.cause,
        actor=transfer.actor,
    )


def test_the_debt_limit_cases_one_after_another() -> None:
    now = wallet(100)

    first = decide(now, charge_of("a", 400))
    assert first.outcome is Outcome.APPLIED
    now = after(now, first)
    assert (now.balance, now.debt_left) == (pounds(-300), pounds(200))

    second = decide(now, charge_of("a", 600))
    assert second.outcome is Outcome.REFUSED
    assert second.refusal is not None
    assert second.refusal.code == "debt_limit"
    assert (second.balance_before, second.refusal.would_be) == (pounds(-300), pounds(-900))
    assert second.refusal.over_by == pounds(400)
    now = after(now, second)
    assert now.balance == pounds(-300)

    third = decide(now, charge_of("a", 200))
    assert third.outcome is Outcome.APPLIED
    now = after(now, third)
    assert (now.balance, now.debt_left) == (pounds(-500), pounds(0))

    fourth = decide(now, charge_of("a", 1))
    assert fourth.outcome is Outcome.REFUSED
    assert fourth.refusal is not None
    assert (fourth.refusal.would_be, fourth.refusal.over_by) == (pounds(-501), pounds(1))


def test_a_key_that_is_in_the_ledger_is_a_duplicate_and_moves_nothing() -> None:
    transfer = charge_of("a", 400)
    existing = entry_of(transfer, pounds(-300))
    again = decide(wallet(-300), transfer, existing)
    assert again.outcome is Outcome.DUPLICATE
    assert again.existing is existing
    assert again.balance_before == again.balance_after == pounds(-300)


def test_a_duplicate_is_a_duplicate_even_where_a_new_charge_would_be_refused() -> None:
    transfer = charge_of("a", 400)
    again = decide(wallet(-500), transfer, entry_of(transfer, pounds(-300)))
    assert (again.outcome, again.refusal) == (Outcome.DUPLICATE, None)


def test_what_may_not_be_refused_goes_below_the_limit() -> None:
    refund = replace(charge_of("a", 1000), refusable=False)
    decision = decide(wallet(0), refund)
    assert (decision.outcome, decision.balance_after) == (Outcome.APPLIED, pounds(-1000))


def test_a_wallet_in_credit_has_its_whole_limit_left() -> None:
    assert wallet(100).debt_left == pounds(500)
    assert wallet(100, debt_limit_minor=0).debt_left == pounds(0)


def test_a_wallet_below_a_lowered_limit_has_less_than_nothing_left() -> None:
    assert wallet(-500, debt_limit_minor=300).debt_left == pounds(-200)


def test_money_of_another_currency_does_not_enter_a_wallet() -> None:
    with pytest.raises(CurrencyMismatch):
        decide(wallet(0), credit_of("a", 100, currency=Currency.USD))


@dataclass(frozen=True)
class Scene:
    wallets: dict[str, Wallet]
    transfers: list[Transfer]
    existing: dict[str, Entry]

    def decided(self) -> list[TransferDecision]:
        return decide_all(self.wallets, self.transfers, self.existing)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    balances = st.integers(-500, 2000)
    wallets = {org_id: wallet(draw(balances), org_id) for org_id in ORGANIZATIONS}
    made = st.tuples(
        st.sampled_from((charge_of, credit_of)),
        st.sampled_from(ORGANIZATIONS),
        st.integers(1, 1500),
        st.booleans(),
    )
    drawn = draw(st.lists(made, max_size=30))
    transfers = [
        make(org_id, amount_minor, f"key:{number}")
        for number, (make, org_id, amount_minor, _) in enumerate(drawn)
    ]
    posted = [one for one, (*_, known) in zip(transfers, drawn, strict=True) if known]
    return Scene(wallets, transfers, {one.key: entry_of(one, pounds(0)) for one in posted})


def effect_minor(decision: TransferDecision) -> int:
    """What an applied transfer did to the wallet, computed from its accounts alone."""
    if decision.outcome is not Outcome.APPLIED:
        return 0
    amount_minor = decision.transfer.amount.amount_minor
    debits_wallet = decision.transfer.debit_account == wallet_account(decision.transfer.org_id)
    return -amount_minor if debits_wallet else amount_minor


@given(scenes())
def test_no_charge_that_is_applied_ends_below_the_debt_limit(scene: Scene) -> None:
    applied = [one for one in scene.decided() if one.outcome is Outcome.APPLIED]
    charges = [one for one in applied if one.transfer.refusable]
    assert all(one.balance_after.amount_minor >= -500 for one in charges)


@given(scenes())
def test_a_charge_is_refused_only_when_it_would_end_below_the_limit(scene: Scene) -> None:
    for one in scene.decided():
        if one.outcome is Outcome.REFUSED:
            assert one.refusal is not None
            assert one.refusal.would_be == one.balance_before - one.transfer.amount
            assert one.refusal.would_be + one.refusal.over_by == pounds(-500)
            assert one.refusal.over_by.amount_minor > 0


@given(scenes())
def test_each_decision_starts_where_the_last_one_about_that_wallet_ended(scene: Scene) -> None:
    balances = {org_id: one.balance for org_id, one in scene.wallets.items()}
    for decision in scene.decided():
        org_id = decision.transfer.org_id
        assert decision.balance_before == balances[org_id]
        assert decision.balance_after == balances[org_id] + pounds(effect_minor(decision))
        balances[org_id] = decision.balance_after


@given(scenes())
def test_exactly_the_keys_that_were_known_are_duplicates(scene: Scene) -> None:
    duplicates = {one.transfer.key for one in scene.decided() if one.outcome is Outcome.DUPLICATE}
    assert duplicates == scene.existing.keys()


@given(scenes())
def test_decisions_come_in_the_order_of_the_transfers(scene: Scene) -> None:
    assert [one.transfer for one in scene.decided()] == scene.transfers


@given(scenes())
def test_deciding_one_by_one_is_the_same_as_deciding_the_set(scene: Scene) -> None:
    wallets, decisions = dict(scene.wallets), []
    for transfer in scene.transfers:
        [decision] = decide_all(wallets, [transfer], scene.existing)
        decisions.append(decision)
        wallets[transfer.org_id] = after(wallets[transfer.org_id], decision)
    assert decisions == scene.decided()


@given(scenes())
def test_the_wallets_that_were_given_are_left_as_they_were(scene: Scene) -> None:
    before = dict(scene.wallets)
    scene.decided()
    assert scene.wallets == before


@pytest.mark.parametrize(
    ("recharge_below_minor", "outcome", "balance_minor", "expected"),
    [
        (500, Outcome.APPLIED, 500, False),
        (500, Outcome.APPLIED, 499, True),
        (500, Outcome.DUPLICATE, 499, True),
        (500, Outcome.DUPLICATE, 500, False),
        (500, Outcome.REFUSED, 600, True),
        (None, Outcome.APPLIED, -500, False),
        (None, Outcome.REFUSED, -500, False),
    ],
)
def test_a_wallet_is_short_below_its_threshold_or_when_it_could_not_pay(
    recharge_below_minor: int | None, outcome: Outcome, balance_minor: int, *, expected: bool
) -> None:
    now = replace(wallet(600), recharge_below_minor=recharge_below_minor)
    posting = Posting(outcome, None, pounds(600), pounds(balance_minor))
    assert is_short(now, posting) is expected


def test_without_a_wallet_or_a_charge_nothing_is_short() -> None:
    assert not is_short(None, Posting(Outcome.APPLIED, None, pounds(0), pounds(0)))
    assert not is_short(replace(wallet(0), recharge_below_minor=500), None)
