"""Adjustments as values: their ids, who may approve, what becomes of them, and their entries."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from billing.adjustments import (
    Adjustment,
    AdjustmentState,
    ApprovalVerdict,
    Decision,
    Direction,
    Proposal,
    Who,
    adjustment_id,
    adjustment_transfer,
    agrees,
    asks_the_same,
    posted,
    proposal_of,
    require_second,
    ruled,
)
from billing.alerts.adjustments import alert_about
from billing.alerts.alert import AlertLevel
from billing.errors import SameOperator
from billing.ledger.entry import Account, Outcome, Posting
from billing.ledger.money import Currency, Money
from billing.parking.adjustments import waits_for_approval
from tests.support.factories import NOON
from tests.support.proposals import ANN, BOB, proposed

NOBODY = Who(None, "a signal in Temporal")
EXPIRES = NOON + timedelta(days=7)
BEFORE, AFTER = EXPIRES - timedelta(seconds=1), EXPIRES
APPLIED, REJECTED = AdjustmentState.APPLIED, AdjustmentState.REJECTED
PENDING, EXPIRED = AdjustmentState.PENDING, AdjustmentState.EXPIRED


def opened(*, needs_approval: bool = True) -> Adjustment:
    proposal = proposed(needs_approval=needs_approval)
    asked = {name: getattr(proposal, name) for name in Proposal.__dataclass_fields__}
    return Adjustment(**asked, requested_at=NOON, expires_at=EXPIRES, position=1)


def said(verdict: ApprovalVerdict, at: datetime = BEFORE, by: Who = BOB) -> Decision:
    return Decision(verdict, by, "looked at it", at)


def test_the_id_follows_from_the_key_and_the_idempotency_key_and_from_nothing_else() -> None:
    assert adjustment_id("a", "1") == adjustment_id("a", "1")
    ids = {adjustment_id(*one) for one in [("a", "1"), ("a", "2"), ("b", "1"), ("a1", "")]}
    assert len(ids) == 4
    assert all(one.startswith("adj_") and len(one) == 36 for one in ids)


@pytest.mark.parametrize(
    ("needs_approval", "decision", "now", "state"),
    [
        (False, None, NOON, APPLIED),
        (False, None, AFTER, APPLIED),
        (True, None, BEFORE, PENDING),
        (True, None, AFTER, EXPIRED),
        (True, said(ApprovalVerdict.APPROVED), BEFORE, APPLIED),
        (True, said(ApprovalVerdict.APPROVED), AFTER, APPLIED),
        (True, said(ApprovalVerdict.APPROVED, AFTER), AFTER, EXPIRED),
        (True, said(ApprovalVerdict.REJECTED), BEFORE, REJECTED),
        (True, said(ApprovalVerdict.REJECTED, AFTER), AFTER, EXPIRED),
        (False, said(ApprovalVerdict.REJECTED), BEFORE, REJECTED),
    ],
)
def test_what_becomes_of_it_depends_on_a_decision_that_came_in_time(
    *, needs_approval: bool, decision: Decision | None, now: datetime, state: AdjustmentState
) -> None:
    adjustment = opened(needs_approval=needs_approval)
    after = ruled(adjustment, decision, now)
    assert after.state is state
    assert after.settled_at == (None if state is PENDING else now)
    assert after.decision == (None if state in (PENDING, EXPIRED) else decision)
    if state is not PENDING:
        assert ruled(after, said(ApprovalVerdict.REJECTED), now + timedelta(days=1)) == after


def test_only_another_key_is_a_second_operator_whatever_name_is_given() -> None:
    require_second(opened(), BOB)
    for same in (ANN, replace(ANN, name="Bob"), replace(ANN, label="another")):
        with pytest.raises(SameOperator, match="cannot approve it as well"):
            require_second(opened(), same)


@pytest.mark.parametrize(
    ("direction", "account", "below", "debit", "credit", "refusable"),
    [
        ("credit", "adjustments", False, "adjustments", "wallet:acme", False),
        ("credit", "goodwill", False, "goodwill", "wallet:acme", False),
        ("debit", "adjustments", False, "wallet:acme", "adjustments", True),
        ("debit", "adjustments", True, "wallet:acme", "adjustments", False),
    ],
)
def test_its_entry_is_between_the_wallet_and_the_account_that_it_names(
    *, direction: str, account: str, below: bool, debit: str, credit: str, refusable: bool
) -> None:
    adjustment = replace(
        opened(),
        direction=Direction(direction),
        account=Account(account),
        allow_below_limit=below,
        requested_by=replace(ANN, name="Ann herself"),
    )
    transfer = adjustment_transfer(adjustment, NOON)
    assert (transfer.debit_account, transfer.credit_account) == (debit, credit)
    assert transfer.refusable is refusable
    assert transfer.key == f"adjustment:{adjustment.adjustment_id}"
    assert (transfer.actor, transfer.note) == ("Ann's key (key key-a)", "ticket 4711")


def test_the_same_is_asked_whatever_the_rule_about_approval_was() -> None:
    adjustment = opened()
    same = replace(proposal_of(adjustment), needs_approval=False)
    assert asks_the_same(same, adjustment)
    assert not asks_the_same(replace(same, reason="another"), adjustment)


def test_what_the_ledger_refuses_is_refused() -> None:
    zero = Money(0, Currency.GBP)
    refused = posted(opened(), Posting(Outcome.REFUSED, None, zero, zero))
    assert refused.state is AdjustmentState.REFUSED
    assert [agrees(refused.state, one) for one in ApprovalVerdict] == [True, False]


def test_it_explains_itself_and_waits_until_it_expires() -> None:
    parked = waits_for_approval(opened())
    assert parked.happened.startswith(
        "Ann's key (key key-a) asks for an adjustment that gives 250.00 GBP (adjustments) by hand:"
    )
    assert (parked.reason, parked.until, parked.heals) == ("approval", EXPIRES, False)
    debit = replace(opened(), direction=Direction.DEBIT, allow_below_limit=True)
    assert "takes 250.00 GBP (adjustments, also below the debt limit)" in (
        waits_for_approval(debit).happened
    )


@pytest.mark.parametrize(
    ("adjustment", "level"),
    [
        (opened(), AlertLevel.MEDIUM),
        (opened(needs_approval=False), None),
        (ruled(opened(), said(ApprovalVerdict.APPROVED), BEFORE), None),
        (ruled(opened(), said(ApprovalVerdict.APPROVED, by=NOBODY), BEFORE), AlertLevel.HIGH),
        (ruled(opened(), said(ApprovalVerdict.REJECTED, by=NOBODY), BEFORE), None),
        (ruled(opened(), None, AFTER), None),
    ],
)
def test_people_are_told_what_waits_and_what_no_key_has_approved(
    adjustment: Adjustment, level: AlertLevel | None
) -> None:
    alert = alert_about(adjustment)
    assert (alert and alert.level) == level
    if alert is not None:
        assert "ticket 4711" not in str(alert)
        assert "Ann" not in str(alert)
