"""How long a call took, and what it is charged; unknown is never zero."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.calls.call import (
    CallState,
    EndedCall,
    bill,
    call_transfer,
    call_workflow_id,
    duration_seconds,
    rate,
)
from billing.ledger.entry import (
    Booked,
    EntryKind,
    Outcome,
    Posting,
    Refusal,
    Transfer,
    wallet_account,
)
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.tariffs.tariff import Charge
from tests.billing.tariffs.test_tariff import DOLLARS, POUNDS, tariff
from tests.support.factories import NOON, as_api, ended_call

WALLET = Wallet("org", Currency.GBP, 0)
TARIFFS = (POUNDS, DOLLARS)
FOREVER = timedelta(days=365 * 100)


@given(st.timedeltas(timedelta(0), FOREVER))
def test_a_duration_is_exact_to_the_microsecond(elapsed: timedelta) -> None:
    call = EndedCall("id", started_at=NOON, ended_at=NOON + elapsed)
    assert duration_seconds(call) == Decimal(elapsed // timedelta(microseconds=1)) / 1_000_000


@given(st.timedeltas(timedelta(microseconds=1), FOREVER))
def test_a_call_that_ends_before_it_starts_has_no_known_duration(elapsed: timedelta) -> None:
    assert duration_seconds(EndedCall("id", started_at=NOON, ended_at=NOON - elapsed)) is None


@pytest.mark.parametrize(
    "call",
    [
        EndedCall("id"),
        EndedCall("id", started_at=NOON),
        EndedCall("id", ended_at=NOON),
        EndedCall("id", ended_at=NOON, reported_seconds=Decimal(60)),
        EndedCall("id", started_at=NOON, provider_ended=True),
    ],
)
def test_a_missing_time_is_an_unknown_duration_and_not_a_free_call(call: EndedCall) -> None:
    assert duration_seconds(call) is None
    assert rate(call, WALLET, TARIFFS, NOON) is CallState.UNKNOWN_DURATION


def test_a_call_that_vapi_says_never_started_took_no_time_and_costs_nothing() -> None:
    call = EndedCall("id", ended_at=NOON, provider_ended=True)
    assert duration_seconds(call) == 0
    rated = rate(call, WALLET, TARIFFS, NOON)
    assert isinstance(rated, Charge)
    assert rated.amount == Money(0, Currency.GBP)


@pytest.mark.parametrize("reported", ["58", "60", "62", "61.9"])
def test_a_reported_duration_within_two_seconds_confirms_the_times(reported: str) -> None:
    call = ended_call(seconds=60, reported_seconds=Decimal(reported))
    assert duration_seconds(call) == 60


@pytest.mark.parametrize("reported", ["0", "57.999", "62.001", "3600", "-60"])
def test_a_reported_duration_that_contradicts_the_times_makes_it_unknown(reported: str) -> None:
    call = ended_call(seconds=60, reported_seconds=Decimal(reported))
    assert duration_seconds(call) is None
    assert duration_seconds(as_api(call)) == 60


def test_a_call_of_nobodys_is_not_rated() -> None:
    assert rate(ended_call(), None, TARIFFS, NOON) is CallState.UNKNOWN_ASSISTANT


def test_a_call_before_the_first_tariff_waits_for_one() -> None:
    call = ended_call(ended_at=POUNDS.effective_from)
    assert rate(call, WALLET, TARIFFS, NOON) is CallState.NO_TARIFF


def test_the_tariff_is_the_one_in_effect_when_the_call_started() -> None:
    change = tariff("new", effective_from=NOON - timedelta(seconds=30))
    rated = rate(ended_call(seconds=60, ended_at=NOON), WALLET, (*TARIFFS, change), NOON)
    assert isinstance(rated, Charge)
    assert rated.tariff_id == POUNDS.tariff_id


def test_a_charge_takes_from_the_wallet_to_usage_once_a_call_and_may_be_refused() -> None:
    call = ended_call(seconds=61, call_id="abc")
    rated = rate(call, WALLET, TARIFFS, NOON)
    assert isinstance(rated, Charge)
    transfer = call_transfer(call, "org", rated, None)
    assert transfer is not None
    assert (transfer.key, transfer.kind) == ("call:abc", EntryKind.CALL)
    assert (transfer.debit_account, transfer.credit_account) == ("wallet:org", "usage:calls")
    assert (transfer.amount, transfer.refusable) == (Money(57, Currency.GBP), True)
    assert transfer.occurred_at == NOON


def corrected(call: EndedCall, net_minor: int, entries: int = 1) -> Transfer | None:
    rated = rate(call, WALLET, TARIFFS, NOON)
    assert isinstance(rated, Charge)
    booked = Booked("org", Money(net_minor, Currency.GBP), entries)
    return call_transfer(call, "org", rated, booked)


def test_vapi_s_own_facts_correct_a_charge_that_was_too_low() -> None:
    call = as_api(ended_call(seconds=61, call_id="abc"))
    transfer = corrected(call, 56)
    assert transfer is not None
    assert (transfer.key, transfer.kind) == ("call:abc:correction:1", EntryKind.CORRECTION)
    assert (transfer.debit_account, transfer.credit_account) == ("wallet:org", "usage:calls")
    assert (transfer.amount, transfer.refusable) == (Money(1, Currency.GBP), True)
    assert transfer.reverses == "call:abc"


def test_what_was_charged_too_much_is_given_back_whatever_the_limit() -> None:
    call = as_api(ended_call(seconds=60, call_id="abc"))
    transfer = corrected(call, 60, entries=3)
    assert transfer is not None
    assert transfer.key == "call:abc:correction:3"
    assert (transfer.debit_account, transfer.credit_account) == ("usage:calls", "wallet:org")
    assert (transfer.amount, transfer.refusable) == (Money(4, Currency.GBP), False)


def test_a_webhook_never_corrects_what_was_charged() -> None:
    transfer = corrected(ended_call(seconds=61, call_id="abc"), 56)
    assert transfer is not None
    assert transfer.key == "call:abc"


CHARGE = Charge(Money(57, Currency.GBP), Money(72, Currency.USD), 61, "default")
BEFORE, REFUSED = Money(-500, Currency.GBP), Money(-557, Currency.GBP)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.APPLIED, CallState.SETTLED),
        (Outcome.DUPLICATE, CallState.SETTLED),
        (Outcome.REFUSED, CallState.DEBT_LIMIT),
    ],
)
def test_only_a_refused_charge_leaves_a_rated_call_waiting(
    outcome: Outcome, state: CallState
) -> None:
    refusal = Refusal("debt_limit", REFUSED, Money(57, Currency.GBP))
    posting = Posting(
        outcome, None, BEFORE, BEFORE, refusal if outcome is Outcome.REFUSED else None
    )
    assert bill("abc", WALLET, CHARGE, posting).state is state


def test_a_rated_call_that_costs_nothing_is_settled_without_a_posting() -> None:
    assert bill("abc", WALLET, CHARGE, None).state is CallState.SETTLED


def test_an_operator_finds_a_call_by_its_id() -> None:
    assert call_workflow_id("abc") == "call/abc"


@pytest.mark.parametrize("paid", [28, 83])
def test_a_correction_is_of_who_paid_whoever_is_asked_for_it(paid: int) -> None:
    call = as_api(ended_call(seconds=60))
    rated = rate(call, WALLET, TARIFFS, NOON)
    assert isinstance(rated, Charge)
    booked = Booked("payer", Money(paid, Currency.GBP), 1)
    transfer = call_transfer(call, "heir", rated, booked)
    assert transfer is not None
    assert transfer.org_id == "payer"
    assert wallet_account("payer") in (transfer.debit_account, transfer.credit_account)
