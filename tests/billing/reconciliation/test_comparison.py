"""What a call or a payment at the provider and the ledger have to say to each other."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.calls.call import CallState, EndedCall, duration_seconds
from billing.calls.ended_reason import FreeEnding, FreeRule
from billing.ledger.entry import Booked, Entry, EntryKind, Transfer, payment_credit_key
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.payments.payment import Payment, due_entries
from billing.payments.refunds_and_disputes import Refund
from billing.reconciliation.call_comparison import KnownCall, compare_call, judge
from billing.reconciliation.payment_comparison import compare_payment, unfounded
from billing.reconciliation.reconciliation import Finding, FindingKind, FindingOutcome
from tests.billing.tariffs.test_tariff import DOLLARS, POUNDS
from tests.support.factories import NOON, as_api, ended_call

WALLET = Wallet("org", Currency.GBP, 0)
TARIFFS = (POUNDS, DOLLARS)
NOW = NOON + timedelta(days=2)


def gbp(amount_minor: int) -> Money:
    return Money(amount_minor, Currency.GBP)


def listed(seconds: float = 60) -> EndedCall:
    return as_api(ended_call("assistant", seconds, call_id="abc"))


def compared(call: EndedCall, known: KnownCall, wallet: Wallet | None = WALLET) -> Finding | None:
    return compare_call(call, known, wallet, TARIFFS, NOW)


def test_a_length_of_which_vapi_s_list_says_only_the_end_is_no_drift() -> None:
    reported = ended_call("assistant", 60, call_id="abc")
    booked = Booked("org", gbp(56), 1)
    known = KnownCall(True, CallState.SETTLED, 60, booked, facts=reported)
    only_end = replace(listed(), started_at=None, ended_at=NOON + timedelta(seconds=30))
    both = known.with_listed(only_end)
    assert duration_seconds(both) == 90
    assert compared(both, known) is None


def billed(net_minor: int, seconds: int | None = 60, entries: int = 1) -> KnownCall:
    return KnownCall(True, CallState.SETTLED, seconds, Booked("org", gbp(net_minor), entries))


# ---- calls


def test_a_charge_from_before_a_rule_that_would_make_it_free_is_not_corrected() -> None:
    call = replace(listed(4), ended_reason="customer-busy")
    began = call.started_at
    assert began is not None
    for since, expected in ((began, gbp(-4)), (began + timedelta(seconds=1), None)):
        rules = [FreeRule(FreeEnding.NEVER_CONNECTED, since)]
        finding = compare_call(call, billed(4, 4), WALLET, TARIFFS, NOW, rules=rules)
        assert (finding and finding.amount) == expected


def test_a_call_of_nobody_s_that_is_settled_for_nothing_is_no_finding() -> None:
    call = replace(listed(4), ended_reason="customer-busy")
    rules = [FreeRule(FreeEnding.NEVER_CONNECTED, NOON - timedelta(days=1))]
    settled = KnownCall(state=CallState.SETTLED)
    assert compare_call(call, settled, None, TARIFFS, NOW, rules=rules) is None
    finding = compare_call(call, KnownCall(), None, TARIFFS, NOW, rules=rules)
    assert finding is not None
    assert (finding.due, finding.call) == ((), call)


def test_a_billed_call_is_no_finding() -> None:
    assert compared(listed(), billed(56)) is None


def test_a_call_that_nothing_was_heard_of_is_missing() -> None:
    finding = compared(listed(), KnownCall())
    assert finding is not None
    assert (finding.kind, finding.org_id) == (FindingKind.MISSING, "org")
    assert (finding.amount, finding.due) == (gbp(56), ("call:abc",))


@pytest.mark.parametrize(
    "known",
    [KnownCall(reported=True), *(KnownCall(state=state) for state in CallState)],
)
def test_a_call_that_is_known_but_was_never_billed_is_unbilled(known: KnownCall) -> None:
    finding = compared(listed(), known)
    if known.state is CallState.DISCARDED:
        assert finding is None
    else:
        assert finding is not None
        assert finding.kind is FindingKind.UNBILLED


def test_a_call_of_nobody_is_found_without_an_amount() -> None:
    finding = compared(listed(), KnownCall(), None)
    assert finding is not None
    assert (finding.org_id, finding.amount) == (None, None)
    assert finding.detail == "unknown_assistant"


def test_a_call_that_costs_nothing_is_found_only_until_it_is_settled() -> None:
    never_connected = replace(listed(), started_at=None)
    finding = compared(never_connected, KnownCall())
    assert finding is not None
    assert (finding.amount, finding.due) == (gbp(0), ())
    assert compared(never_connected, KnownCall(state=CallState.SETTLED)) is None


@pytest.mark.parametrize(("net_minor", "more"), [(28, 28), (83, -27)])
def test_a_call_billed_for_other_money_has_drifted(net_minor: int, more: int) -> None:
    finding = compared(listed(), billed(net_minor, 30, entries=2))
    assert finding is not None
    assert (finding.kind, finding.amount) == (FindingKind.DRIFTED, gbp(more))
    assert finding.due == ("call:abc:correction:2",)


def test_a_call_billed_for_other_seconds_at_the_same_price_calls_for_no_entry() -> None:
    finding = compared(listed(4), billed(4, seconds=3))
    assert finding is not None
    assert (finding.kind, finding.amount, finding.due) == (FindingKind.DRIFTED, gbp(0), ())


def test_facts_that_do_not_add_up_call_nothing_billed_into_question() -> None:
    call = listed()
    assert (
        compared(replace(call, started_at=call.ended_at, ended_at=call.started_at), billed(56))
        is None
    )


@pytest.mark.parametrize(
    ("posted", "state", "outcome"),
    [
        (True, None, FindingOutcome.RECOVERED),
        (True, CallState.DEBT_LIMIT, FindingOutcome.RECOVERED),
        (False, None, FindingOutcome.OPEN),
        (False, CallState.SETTLED, FindingOutcome.RECOVERED),
        (False, CallState.UNKNOWN_ASSISTANT, FindingOutcome.QUARANTINED),
        (False, CallState.DEBT_LIMIT, FindingOutcome.WAITING),
        (False, CallState.NO_TARIFF, FindingOutcome.WAITING),
    ],
)
def test_what_came_of_a_missing_call(
    posted: bool, state: CallState | None, outcome: FindingOutcome
) -> None:
    finding = compared(listed(), KnownCall())
    assert finding is not None
    keys = frozenset(finding.due) if posted else frozenset[str]()
    assert judge(finding, keys, state) is outcome


def test_a_correction_is_made_when_it_is_in_the_ledger_and_not_before() -> None:
    finding = compared(listed(), billed(28))
    assert finding is not None
    assert judge(finding, frozenset(), CallState.SETTLED) is FindingOutcome.OPEN
    assert judge(finding, frozenset(finding.due), CallState.SETTLED) is FindingOutcome.RECOVERED


# ---- payments


PAID = Payment(
    "pi_1",
    "succeeded",
    "gbp",
    5000,
    NOON,
    type="wallet_topup",
    org_id="org",
    expected_minor=5000,
    intended_minor=5000,
    refunds=(Refund("re_1", 1200, NOON, "succeeded"),),
)


def entry_of(transfer: Transfer, amount: Money | None = None) -> Entry:
    return Entry(
        entry_id=1,
        key=transfer.key,
        kind=transfer.kind,
        org_id=transfer.org_id,
        debit_account=transfer.debit_account,
        credit_account=transfer.credit_account,
        amount=amount or transfer.amount,
        balance_after=gbp(0),
        occurred_at=transfer.occurred_at,
        recorded_at=datetime(2026, 11, 3, tzinfo=UTC),
        cause=transfer.cause,
        actor=transfer.actor,
    )


def posted(*kinds: EntryKind) -> dict[str, Entry]:
    return {one.key: entry_of(one) for one in due_entries(PAID, WALLET) if one.kind in kinds}


def test_a_payment_whose_entries_are_all_there_is_no_finding() -> None:
    everything = posted(EntryKind.TOPUP, EntryKind.REFUND)
    assert compare_payment(PAID, WALLET, everything, ()) is None


def test_a_payment_lacks_what_was_paid_less_what_was_refunded() -> None:
    finding = compare_payment(PAID, WALLET, {}, ())
    assert finding is not None
    assert (finding.kind, finding.amount) == (FindingKind.MISSING, gbp(3800))
    assert finding.due == (payment_credit_key("pi_1"), "refund:re_1")


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (["payment_intent.succeeded"], FindingKind.MISSING),
        (["payment_intent.succeeded", "charge.refunded"], FindingKind.UNBILLED),
        (["refund.created"], FindingKind.UNBILLED),
    ],
)
def test_a_refund_is_known_by_events_about_refunds(events: list[str], kind: FindingKind) -> None:
    finding = compare_payment(PAID, WALLET, posted(EntryKind.TOPUP), events)
    assert finding is not None
    assert (finding.kind, finding.amount) == (kind, gbp(-1200))


def test_an_entry_of_another_amount_is_reported_and_nothing_is_due() -> None:
    entries = posted(EntryKind.TOPUP, EntryKind.REFUND)
    key = payment_credit_key("pi_1")
    entries[key] = replace(entries[key], amount=gbp(4000))
    finding = compare_payment(PAID, WALLET, entries, ())
    assert finding is not None
    assert (finding.kind, finding.outcome) == (FindingKind.DRIFTED, FindingOutcome.REPORTED)
    assert (finding.amount, finding.due) == (gbp(1000), ())
    assert finding.detail == f"{key} is 40.00 GBP, not 50.00 GBP"


@pytest.mark.parametrize(
    "edited",
    [{"org_id": "other"}, {"type": "subscription"}, {"customer_id": "cus_2"}],
)
def test_a_credited_payment_lacks_what_went_back_whatever_it_says_by_now(
    edited: dict[str, Any],
) -> None:
    finding = compare_payment(replace(PAID, **edited), WALLET, posted(EntryKind.TOPUP), (), "cus_1")
    assert finding is not None
    assert (finding.org_id, finding.amount, finding.due) == ("org", gbp(-1200), ("refund:re_1",))


def test_a_payment_that_does_not_fit_is_quarantined() -> None:
    finding = compare_payment(PAID, None, {}, ())
    assert finding is not None
    assert finding.detail == "unknown_organization"
    assert judge(finding, frozenset(), None) is FindingOutcome.QUARANTINED


@pytest.mark.parametrize(
    "payment", [replace(PAID, status="canceled"), replace(PAID, type="subscription")]
)
def test_a_payment_that_was_not_made_or_is_not_ours_is_no_finding(payment: Payment) -> None:
    assert compare_payment(payment, WALLET, {}, ()) is None


@pytest.mark.parametrize(("status", "is_found"), [("succeeded", False), ("canceled", True)])
def test_a_credit_needs_a_payment_that_succeeded(status: str, is_found: bool) -> None:
    [credit, _] = due_entries(PAID, WALLET)
    assert (unfounded(entry_of(credit), status) is not None) is is_found


def test_a_credit_for_nothing_is_too_much() -> None:
    [credit, _] = due_entries(PAID, WALLET)
    finding = unfounded(entry_of(credit), None)
    assert finding is not None
    assert (finding.kind, finding.amount) == (FindingKind.ORPHANED, gbp(-5000))
