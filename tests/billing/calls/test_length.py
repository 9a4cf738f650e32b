"""Nothing is charged, and nothing corrected, beyond what a call can have taken."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.calls.call import (
    CallState,
    EndedCall,
    call_transfer,
    duration_seconds,
    rate,
    took_place_at,
    why_unknown,
)
from billing.calls.fact_source import FactSource
from billing.calls.facts import merge
from billing.calls.length import CAP_TOLERANCE_SECONDS, LONGEST_SECONDS, MOST_AHEAD, StatedLength
from billing.ledger.entry import Booked
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.tariffs.tariff import Charge, Tariff, rate_call
from tests.billing.tariffs.test_tariff import POUNDS, tariff
from tests.support.factories import NOON, as_api, ended_call

WALLET = Wallet("org", Currency.GBP, 0)
LARGEST_INTEGER, LARGEST_BIGINT = 2**31 - 1, 2**63 - 1
YEARS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 12, 31, tzinfo=UTC))
AT_MOST_NINE_DIGITS = Decimal("999999.999999")

near = st.timedeltas(-timedelta(hours=14), timedelta(hours=14)).map(lambda ago: NOON + ago)
any_time = near | st.datetimes(
    YEARS[0].replace(tzinfo=None), YEARS[1].replace(tzinfo=None), timezones=st.just(UTC)
)
any_seconds = st.decimals(-(10**12), 10**12, allow_nan=False, places=3)
any_length = st.builds(StatedLength, any_seconds, st.just("Ann: as agreed"), any_time)
calls = st.builds(
    EndedCall,
    st.just("abc"),
    started_at=st.none() | any_time,
    ended_at=st.none() | any_time,
    reported_seconds=st.none() | any_seconds,
    provider_ended=st.booleans(),
    sources=st.none()
    | st.dictionaries(st.sampled_from(["started_at", "ended_at"]), st.sampled_from(FactSource)),
    cap_seconds=st.none() | st.integers(10, 43_200),
    stated=st.none() | any_length,
)
tariffs = st.builds(
    lambda rate, fx, increment, minimum: replace(
        POUNDS,
        rate_minor_per_minute=rate,
        fx_rate=fx,
        increment_seconds=increment,
        minimum_minor=minimum,
        effective_from=datetime(1900, 1, 1, tzinfo=UTC),  # before any stated length began
    ),
    st.decimals(0, AT_MOST_NINE_DIGITS, places=6),
    st.decimals(Decimal("0.000001"), AT_MOST_NINE_DIGITS, places=6),
    st.integers(1, 3600),
    st.integers(0, 100_000_000),
)


def longest(call: EndedCall) -> int:
    """Return the most seconds that may be charged for a call."""
    if call.stated is not None or call.cap_seconds is None:
        return LONGEST_SECONDS
    return min(LONGEST_SECONDS, call.cap_seconds + CAP_TOLERANCE_SECONDS)


@given(calls, tariffs)
def test_nothing_is_charged_beyond_what_a_call_can_have_taken(
    call: EndedCall, price: Tariff
) -> None:
    rated = rate(call, WALLET, [price], NOON)
    if isinstance(rated, Charge):
        at_most = rate_call(price, Decimal(longest(call)))
        assert 0 <= rated.billed_seconds <= at_most.billed_seconds <= LARGEST_INTEGER
        assert 0 <= rated.amount.amount_minor <= at_most.amount.amount_minor < LARGEST_BIGINT
    else:
        assert rated is CallState.UNKNOWN_DURATION


@given(calls, tariffs, st.integers(0, 2**62), st.integers(1, 9))
def test_nothing_is_corrected_beyond_what_a_call_can_have_taken(
    call: EndedCall, price: Tariff, net_minor: int, entries: int
) -> None:
    rated = rate(call, WALLET, [price], NOON)
    if not isinstance(rated, Charge):
        return
    booked = Booked("org", Money(net_minor, Currency.GBP), entries)
    transfer = call_transfer(call, "org", rated, booked)
    assert transfer is not None
    at_most = rate_call(price, Decimal(longest(call))).amount.amount_minor
    assert 0 <= transfer.amount.amount_minor <= max(net_minor, at_most) < LARGEST_BIGINT


@given(calls)
def test_what_is_charged_was_not_to_come(call: EndedCall) -> None:
    rated = rate(call, WALLET, [tariff("t", effective_from=YEARS[0])], NOON)
    if isinstance(rated, Charge) and rated.billed_seconds and call.stated is None:
        assert took_place_at(call) <= NOON + MOST_AHEAD


def rated(call: EndedCall, now: datetime = NOON) -> Charge | CallState:
    return rate(call, WALLET, [POUNDS], now)


@pytest.mark.parametrize("said", [lambda call: call, as_api])
@pytest.mark.parametrize(
    ("seconds", "cap", "is_known"),
    [
        (43_200, None, True),
        (43_201, None, False),
        (660, 600, True),
        (661, 600, False),
        (43_200, 43_200, True),
    ],
)
def test_a_length_beyond_vapi_s_maximum_or_the_call_s_own_cap_is_unknown(
    said: Callable[[EndedCall], EndedCall], seconds: int, cap: int | None, is_known: bool
) -> None:
    call = replace(said(ended_call("a", seconds)), cap_seconds=cap)
    assert isinstance(rated(call), Charge) is is_known
    assert (why_unknown(call, NOON) is None) is is_known


@pytest.mark.parametrize(("ahead", "is_known"), [(300, True), (301, False)])
def test_a_time_more_than_five_minutes_ahead_makes_the_length_unknown(
    ahead: int, is_known: bool
) -> None:
    call = ended_call("a", 60, ended_at=NOON + timedelta(seconds=ahead))
    assert isinstance(rated(call), Charge) is is_known
    assert is_known or "is to come" in str(why_unknown(call, NOON))


def stated(seconds: float, call: EndedCall) -> EndedCall:
    length = StatedLength(Decimal(seconds), "Ann: as agreed", NOON)
    return merge(call, EndedCall(call.call_id, stated=length))


def test_a_person_s_word_counts_before_everything_and_up_to_vapi_s_maximum() -> None:
    wrong_year = ended_call("a", 60, ended_at=NOON + timedelta(days=3650))
    bill = rated(stated(61, wrong_year))
    assert isinstance(bill, Charge)
    assert bill.billed_seconds == 61
    assert took_place_at(stated(61, wrong_year)) == NOON
    assert rated(stated(43_201, wrong_year)) is CallState.UNKNOWN_DURATION
    assert rated(stated(-1, wrong_year)) is CallState.UNKNOWN_DURATION
    capped = replace(ended_call("a", 2000), cap_seconds=600)
    assert isinstance(rated(stated(2000, capped)), Charge)
    assert isinstance(rated(stated(5, EndedCall("no times"))), Charge)


def test_when_a_record_was_changed_is_no_length() -> None:
    old = replace(ended_call("a", 72_000), provider_ended=True)
    assert duration_seconds(old) is None
    assert rated(old) is CallState.UNKNOWN_DURATION
