"""Whatever a tariff says, nothing costs what no column holds, and no sum overflows."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from billing.calls.call import CallState, EndedCall, bill, call_transfer, rate
from billing.ledger.entry import Booked
from billing.ledger.money import LARGEST_MINOR, Currency, Money
from billing.ledger.wallet import Wallet, decide_all
from billing.messages.message import Message, MessageFacts, MessageState, MessageStatus
from billing.messages.message_charge import MessageEntries, plan
from billing.messages.message_charge import rate as rate_message
from billing.parking.parked import parked_call
from billing.tariffs.sms_tariff import MessageCharge, SmsTariff
from billing.tariffs.tariff import Charge, Tariff
from tests.billing.tariffs.test_tariff import POUNDS
from tests.support.factories import NOON, as_api, ended_call

LARGEST_BIGINT, LARGEST_INTEGER = 2**63 - 1, 2**31 - 1
# So many charges of one batch are added up.
BATCH = 500
EARLY = datetime(2000, 1, 1, tzinfo=UTC)
WALLET = Wallet("org", Currency.GBP, 0)

any_rate = st.decimals(0, Decimal(10) ** 30, places=6)
any_tariff = st.builds(
    lambda rate, fx, increment, minimum: replace(
        POUNDS,
        rate_minor_per_minute=rate,
        fx_rate=fx,
        increment_seconds=increment,
        minimum_minor=minimum,
        effective_from=EARLY,
    ),
    any_rate,
    any_rate,
    st.integers(1, LARGEST_INTEGER),
    st.integers(0, LARGEST_BIGINT),
)
any_call = st.floats(0, 43_200).map(lambda seconds: as_api(ended_call("a", seconds)))
any_price = st.builds(
    SmsTariff,
    st.just("sms"),
    st.just(""),
    st.just(Currency.GBP),
    any_rate,
    any_rate,
    st.just(Currency.GBP),
    st.just(EARLY),
)
any_balance = st.integers(-(2**62), 2**62)


@given(any_call, any_tariff)
def test_no_call_costs_more_than_a_sum_of_many_can_hold(call: EndedCall, tariff: Tariff) -> None:
    rated = rate(call, WALLET, [tariff], NOON)
    if isinstance(rated, Charge):
        assert 0 <= rated.billed_seconds <= LARGEST_INTEGER
        assert 0 <= rated.rated.amount_minor <= LARGEST_MINOR
        assert 0 <= rated.amount.amount_minor * BATCH < LARGEST_BIGINT
    else:
        assert rated is CallState.NO_TARIFF
        assert "more than anything can" in parked_call(bill("a", WALLET, rated, None)).happened


@given(any_call, any_tariff, any_balance, st.integers(1, 9))
def test_no_correction_moves_more_than_was_charged_or_is_right(
    call: EndedCall, tariff: Tariff, net_minor: int, entries: int
) -> None:
    rated = rate(call, WALLET, [tariff], NOON)
    if isinstance(rated, Charge):
        booked = Booked("org", Money(net_minor, Currency.GBP), entries)
        transfer = call_transfer(call, "org", rated, booked)
        assert transfer is not None
        most = abs(net_minor) + rated.amount.amount_minor
        assert 0 <= transfer.amount.amount_minor <= most < LARGEST_BIGINT


@given(any_call, any_tariff, any_balance)
def test_no_batch_takes_a_balance_beyond_what_is_kept(
    call: EndedCall, tariff: Tariff, balance_minor: int
) -> None:
    rated = rate(call, WALLET, [tariff], NOON)
    if not isinstance(rated, Charge):
        return
    calls = [replace(call, call_id=f"call {number}") for number in range(BATCH)]
    charges = [call_transfer(one, "org", rated, None) for one in calls]
    wallets = {"org": replace(WALLET, balance_minor=balance_minor, debt_limit_minor=10**8)}
    for decision in decide_all(wallets, [one for one in charges if one], {}):
        assert abs(decision.balance_after.amount_minor) < LARGEST_BIGINT
        if decision.refusal is not None:
            assert abs(decision.refusal.would_be.amount_minor) < LARGEST_BIGINT
            assert abs(decision.refusal.over_by.amount_minor) < LARGEST_BIGINT


@given(st.integers(0, 999_999), any_price, any_balance)
def test_no_message_costs_more_than_a_sum_of_many_can_hold(
    segments: int, price: SmsTariff, balance_minor: int
) -> None:
    facts = MessageFacts(NOON, segments, "447700", "+1", None)
    message = Message("SM", "AC", MessageStatus.SENT, MessageState.PENDING, facts)
    wallet = replace(WALLET, balance_minor=balance_minor)
    rated = rate_message(message, wallet, [price])
    if isinstance(rated, MessageCharge):
        assert 0 <= rated.amount.amount_minor * BATCH < LARGEST_BIGINT
    else:
        assert rated in (MessageState.NO_TARIFF, MessageState.UNKNOWN_SEGMENTS)
    planned = plan(message, MessageEntries(), wallet, [price], reverse_undelivered=True)
    assert planned.rated == rated
