"""Messages: statuses that never step back, what is due in whatever order, what it costs."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import NoTariff
from billing.ledger.entry import Entry, EntryKind
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.messages.delivery_rate import delivery
from billing.messages.message import (
    Message,
    MessageFacts,
    MessageState,
    MessageStatus,
    SeenMessage,
    highest,
)
from billing.messages.message_charge import Due, MessageEntries, due, plan, rate
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import SmsTariff, price_message, sms_tariff_at

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
SID, ACCOUNT = "SM" + "1" * 32, "AC" + "1" * 32
FACTS = MessageFacts(NOON, 2, "447700", "+15017122661", None)
WALLET = Wallet("acme", Currency.GBP, 1000)
TARIFF = SmsTariff(
    "any",
    "",
    Currency.USD,
    Decimal(6),
    Decimal("0.79"),
    Currency.GBP,
    datetime(2020, 1, 1, tzinfo=UTC),
)
CHARGE = Entry(
    1, f"sms:{SID}", EntryKind.SMS, "acme", "wallet:acme", "usage:sms",
    Money(10, Currency.GBP), Money(990, Currency.GBP), NOON, NOON, "a test", "system",
)  # fmt: skip
REVERSAL = replace(CHARGE, key=f"sms:{SID}:reversal", kind=EntryKind.SMS_REVERSAL)
STATUSES = st.lists(st.sampled_from(list(MessageStatus)), min_size=1, max_size=12)
PRICED = [one for one in Channel if one is not Channel.OTHER]
TAKEN = {MessageStatus.SENT, MessageStatus.DELIVERED, MessageStatus.READ}


def message(status: MessageStatus, **facts: Any) -> Message:
    return Message(SID, ACCOUNT, status, MessageState.PENDING, replace(FACTS, **facts))


def booked(statuses: Iterable[MessageStatus], *, reverse_undelivered: bool) -> tuple[bool, bool]:
    """Hear statuses one after another, post what is due each time; charged, and given back?"""
    best, posted = MessageStatus.ACCEPTED, MessageEntries()
    for status in statuses:
        best = max(best, status, key=lambda one: one.rank)
        match due(best, posted, reverse_undelivered=reverse_undelivered):
            case Due.CHARGE:
                posted = MessageEntries(CHARGE)
            case Due.REVERSAL:
                posted = MessageEntries(CHARGE, REVERSAL)
    return posted.charge is not None, posted.reversal is not None


@given(STATUSES, st.randoms(use_true_random=False), st.booleans())
def test_every_order_and_repetition_of_statuses_ends_in_the_same_balance(
    statuses: list[MessageStatus], dice: Any, reverse: bool
) -> None:
    other = statuses * 2
    dice.shuffle(other)
    one = booked(statuses, reverse_undelivered=reverse)
    two = booked(other, reverse_undelivered=reverse)
    assert (one[0] and not one[1]) == (two[0] and not two[1])
    paying = TAKEN | (set() if reverse else {MessageStatus.UNDELIVERED})
    top = max(statuses, key=lambda status: status.rank)
    assert (one[0] and not one[1]) == (top in paying)


@given(STATUSES)
def test_the_highest_status_stays_and_an_error_code_with_it(statuses: list[MessageStatus]) -> None:
    seen = [SeenMessage(SID, ACCOUNT, status, status.rank) for status in statuses]
    [kept] = highest(seen)
    assert kept.status.rank == max(status.rank for status in statuses)
    assert kept.error_code == kept.status.rank


@pytest.mark.parametrize(
    ("status", "reverse", "step"),
    [
        (MessageStatus.QUEUED, True, Due.NOTHING),
        (MessageStatus.SENDING, True, Due.NOTHING),
        (MessageStatus.SENT, True, Due.CHARGE),
        (MessageStatus.DELIVERED, True, Due.CHARGE),
        (MessageStatus.READ, True, Due.CHARGE),
        (MessageStatus.UNDELIVERED, True, Due.NOTHING),
        (MessageStatus.UNDELIVERED, False, Due.CHARGE),
        (MessageStatus.FAILED, False, Due.NOTHING),
        (MessageStatus.CANCELED, False, Due.NOTHING),
    ],
)
def test_what_twilio_has_taken_is_charged(status: MessageStatus, reverse: bool, step: Due) -> None:
    assert due(status, MessageEntries(), reverse_undelivered=reverse) is step
    after = Due.NOTHING if step is Due.CHARGE or not status.is_final else Due.REVERSAL
    assert due(status, MessageEntries(CHARGE), reverse_undelivered=reverse) is after
    assert due(status, MessageEntries(CHARGE, REVERSAL), reverse_undelivered=reverse) is Due.NOTHING


def test_a_reversal_gives_back_what_was_charged_to_whoever_has_paid() -> None:
    planned = plan(
        message(MessageStatus.FAILED), MessageEntries(CHARGE), None, [], reverse_undelivered=True
    )
    assert planned.rated is MessageState.REVERSED
    assert planned.transfer is not None
    assert (planned.transfer.debit_account, planned.transfer.credit_account) == (
        "usage:sms", "wallet:acme",
    )  # fmt: skip
    assert planned.transfer.key == f"sms:{SID}:reversal"
    assert planned.transfer.amount == CHARGE.amount
    assert not planned.transfer.refusable


def test_what_was_given_up_stays_given_up() -> None:
    given_up = replace(message(MessageStatus.SENT), state=MessageState.DISCARDED)
    planned = plan(given_up, MessageEntries(), WALLET, [TARIFF], reverse_undelivered=True)
    assert (planned.rated, planned.transfer) == (MessageState.DISCARDED, None)


@pytest.mark.parametrize(
    ("price", "segments", "pence"),
    [("6", 1, 5), ("6", 2, 10), ("0.83", 1, 1), ("0.83", 3, 2), ("0", 3, 0), ("100", 1, 79)],
)
def test_the_price_is_rounded_up_once_for_the_whole_message(
    price: str, segments: int, pence: int
) -> None:
    charge = price_message(replace(TARIFF, price_minor_per_segment=Decimal(price)), segments)
    assert charge.amount == Money(pence, Currency.GBP)


def test_a_message_that_costs_nothing_is_settled_without_an_entry() -> None:
    free = replace(TARIFF, price_minor_per_segment=Decimal(0))
    planned = plan(
        message(MessageStatus.SENT), MessageEntries(), WALLET, [free], reverse_undelivered=True
    )
    assert planned.transfer is None
    assert not isinstance(planned.rated, MessageState)


def test_the_own_price_the_longest_prefix_and_the_newest_win() -> None:
    later = datetime(2026, 1, 1, tzinfo=UTC)
    uk, mobile = replace(TARIFF, prefix="44"), replace(TARIFF, prefix="4477")
    newer, future = (
        replace(mobile, effective_from=later),
        replace(mobile, effective_from=NOON + timedelta(seconds=1)),
    )
    own = replace(TARIFF, org_id="acme")
    others = replace(mobile, org_id="bolt")
    dollars = replace(mobile, wallet_currency=Currency.USD)

    def chosen(*tariffs: SmsTariff) -> SmsTariff:
        return sms_tariff_at(tariffs, "acme", Currency.GBP, "447700", NOON, channel=Channel.SMS)

    assert chosen(TARIFF, uk, replace(TARIFF, prefix="1")) is uk
    assert chosen(mobile, uk, TARIFF, others, dollars, future) is mobile
    assert chosen(newer, mobile) is newer
    assert chosen(newer, own) is own
    with pytest.raises(NoTariff):
        chosen(others, dollars, future)


@pytest.mark.parametrize(
    ("facts", "wallet", "tariffs", "state"),
    [
        ({"segments": None}, WALLET, [TARIFF], MessageState.UNKNOWN_SEGMENTS),
        ({"segments": 0}, None, [TARIFF], MessageState.UNKNOWN_SEGMENTS),
        ({}, None, [TARIFF], MessageState.UNKNOWN_SENDER),
        ({}, WALLET, [], MessageState.NO_TARIFF),
        ({"destination": None}, WALLET, [TARIFF], MessageState.NO_TARIFF),
    ],
)
def test_what_is_missing_for_a_price_is_named(
    facts: dict[str, Any], wallet: Wallet | None, tariffs: list[SmsTariff], state: MessageState
) -> None:
    assert rate(message(MessageStatus.SENT, **facts), wallet, tariffs) is state
    assert state.waits


def test_a_delivery_rate_is_of_messages_whose_end_is_known() -> None:
    found = delivery(
        {
            MessageStatus.QUEUED: 1,
            MessageStatus.SENT: 5,
            MessageStatus.DELIVERED: 5,
            MessageStatus.READ: 1,
            MessageStatus.UNDELIVERED: 2,
            MessageStatus.FAILED: 0,
            MessageStatus.CANCELED: 1,
        }
    )
    assert (found.pending, found.sent, found.delivered, found.undelivered, found.failed) == (
        1, 5, 6, 2, 1,
    )  # fmt: skip
    assert found.rate_percent == Decimal("66.66")
    assert delivery({}).rate_percent == 100


def by_channel(channel: Channel, price: str, day: datetime = NOON, **of: Any) -> SmsTariff:
    figures = {"price_minor_per_segment": Decimal(price), "effective_from": day, **of}
    return replace(TARIFF, sms_tariff_id=f"{channel}-{price}", channel=channel, **figures)


def rated(channel: Channel | None, *tariffs: SmsTariff, sid: str = SID) -> str:
    """What a message over a channel is rated by, or the state that it is in."""
    sent = replace(message(MessageStatus.SENT, channel=channel), sid=sid)
    found = rate(sent, WALLET, [TARIFF, *tariffs])
    return found if isinstance(found, MessageState) else found.sms_tariff_id


def test_a_message_is_priced_by_its_own_channel_and_no_other() -> None:
    prices = [by_channel(one, "5") for one in PRICED if one is not Channel.SMS]
    assert [rated(one, *prices) for one in PRICED] == ["any", "mms-5", "whatsapp-5", "rcs-5"]
    assert rated(Channel.MMS, *prices[1:]) is MessageState.NO_TARIFF
    assert rated(Channel.OTHER, *prices) is MessageState.UNKNOWN_CHANNEL
    assert MessageState.UNKNOWN_CHANNEL.waits
    charge = price_message(prices[1], 2)
    assert charge.note.startswith("2 x 5 USD minor units by whatsapp to anywhere at 0.79")


def test_what_version_0_1_wrote_down_has_the_channel_of_its_id() -> None:
    mms = by_channel(Channel.MMS, "5")
    assert rated(None, mms) == "any"
    assert rated(None, mms, sid="MM" + "1" * 32) == "mms-5"


@pytest.mark.parametrize("channel", [Channel.WHATSAPP, Channel.RCS])
def test_what_is_sent_before_the_first_price_of_its_channel_is_free_and_waits_for_one_after_it(
    channel: Channel,
) -> None:
    later = NOON + timedelta(seconds=1)
    free = [
        [],
        [by_channel(channel, "5", later)],
        [by_channel(channel, "5", org_id="bolt")],
        [by_channel(channel, "5", wallet_currency=Currency.USD)],
        [by_channel(Channel.RCS if channel is Channel.WHATSAPP else Channel.WHATSAPP, "5")],
    ]
    assert {rated(channel, *prices) for prices in free} == {MessageState.NOT_CHARGED}
    sent = message(MessageStatus.SENT, channel=channel)
    planned = plan(sent, MessageEntries(), WALLET, [TARIFF], reverse_undelivered=True)
    assert planned.transfer is None
    assert planned.free == f"sent before messages by {channel} had a price"
    elsewhere = by_channel(channel, "5", prefix="1")
    assert rated(channel, elsewhere) is MessageState.NO_TARIFF
    assert rated(channel, by_channel(channel, "5", org_id="acme"), elsewhere) == f"{channel}-5"
    lost = replace(message(MessageStatus.SENT), facts=None)
    assert rate(lost, WALLET, [TARIFF]) is MessageState.UNKNOWN_SEGMENTS


def test_what_is_nobodys_is_free_only_while_nobody_has_a_price_for_it() -> None:
    sent = message(MessageStatus.SENT, channel=Channel.WHATSAPP)
    theirs = by_channel(Channel.WHATSAPP, "5", org_id="bolt")
    assert rate(sent, None, [TARIFF]) is MessageState.NOT_CHARGED
    later = replace(theirs, effective_from=NOON + timedelta(seconds=1))
    assert rate(sent, None, [later]) is MessageState.NOT_CHARGED
    assert rate(sent, None, [theirs]) is MessageState.UNKNOWN_SENDER
    assert rate(message(MessageStatus.SENT), None, []) is MessageState.UNKNOWN_SENDER


@given(st.lists(st.sampled_from([None, *Channel]), min_size=1, max_size=6))
def test_of_many_callbacks_the_channel_is_what_any_of_them_says(
    channels: list[Channel | None],
) -> None:
    seen = [SeenMessage(SID, ACCOUNT, MessageStatus.SENT, channel=one) for one in channels]
    [kept] = highest(seen)
    assert kept.channel is next((one for one in channels if one), None)
