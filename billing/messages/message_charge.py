"""What is due for a message, and what it costs: decided from the highest status and the ledger."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.errors import NoTariff
from billing.ledger.entry import (
    Account,
    Entry,
    EntryKind,
    Outcome,
    Posting,
    Transfer,
    message_key,
    reversal_key,
    same_again,
    wallet_account,
)
from billing.ledger.wallet import Wallet, is_short
from billing.messages.message import Message, MessageBill, MessageFacts, MessageState, MessageStatus
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import (
    MessageCharge,
    SmsTariff,
    first_price,
    price_message,
    sms_tariff_at,
)


@dataclass(frozen=True, slots=True)
class MessageEntries:
    """What the ledger holds for a message."""

    charge: Entry | None = None
    reversal: Entry | None = None


class Due(StrEnum):
    """What is to be posted for a message now."""

    NOTHING = "nothing"
    CHARGE = "charge"
    REVERSAL = "reversal"


def due(status: MessageStatus, posted: MessageEntries, *, reverse_undelivered: bool) -> Due:
    """Return what is due, which depends only on the highest status seen and on what is posted.

    A message that is given back before it was charged is never charged. So the same callbacks end
    in the same balance whatever their order: a charge, a charge and its reversal, or nothing.
    """
    if posted.reversal:
        return Due.NOTHING
    if is_given_back(status, reverse_undelivered=reverse_undelivered):
        return Due.REVERSAL if posted.charge else Due.NOTHING
    return Due.CHARGE if status.is_taken and not posted.charge else Due.NOTHING


def is_given_back(status: MessageStatus, *, reverse_undelivered: bool) -> bool:
    """Return whether the customer does not pay for a message that ended with this status.

    Twilio charges for a message that it could not deliver. Whether the customer pays for it is the
    platform's choice.
    """
    return status.is_lost or (reverse_undelivered and status is MessageStatus.UNDELIVERED)


def rate(
    message: Message, wallet: Wallet | None, tariffs: Sequence[SmsTariff]
) -> MessageCharge | MessageState:
    """Return what a message costs its wallet, or the state that names what is missing to price it.

    The tariff is the one in effect when Twilio sent it, for its channel. Before the first price of
    a channel that is free until then, the state is NOT_CHARGED.
    """
    facts, channel = message.facts, message.channel
    if channel is Channel.OTHER:
        return MessageState.UNKNOWN_CHANNEL
    if facts is None or channel is None or facts.sent_at is None or not facts.segments:
        return MessageState.UNKNOWN_SEGMENTS
    if channel.is_free_at_first and _is_unpriced(tariffs, channel, facts.sent_at, wallet):
        return MessageState.NOT_CHARGED
    if wallet is None:
        return MessageState.UNKNOWN_SENDER
    return _price(facts, channel, wallet, tariffs)


def _price(
    facts: MessageFacts, channel: Channel, wallet: Wallet, tariffs: Sequence[SmsTariff]
) -> MessageCharge | MessageState:
    """Return what a message costs of which everything is known, or NO_TARIFF."""
    destination, sent_at = facts.destination, facts.sent_at
    if destination is None or sent_at is None:
        return MessageState.NO_TARIFF
    whose = (wallet.org_id, wallet.currency)
    try:
        tariff = sms_tariff_at(tariffs, *whose, destination, sent_at, channel=channel)
        return price_message(tariff, facts.segments or 0)
    except NoTariff:
        return MessageState.NO_TARIFF


def _is_unpriced(
    tariffs: Iterable[SmsTariff], channel: Channel, sent_at: datetime, wallet: Wallet | None
) -> bool:
    """Return whether a channel had no price yet that could count for the wallet's organisation.

    What is nobody's is unpriced if nobody had one: then it is, whoever owes it.
    """
    if wallet is None:
        return all(one.effective_from > sent_at for one in tariffs if one.channel is channel)
    first = first_price(tariffs, channel, wallet.org_id, wallet.currency)
    return first is None or sent_at < first


@dataclass(frozen=True, slots=True)
class MessagePlan:
    """What is to become of a message: its price or its state, and what is to be posted for it.

    `free` is why it costs nothing although Twilio has taken it.
    """

    rated: MessageCharge | MessageState
    transfer: Transfer | None = None
    free: str | None = None


def plan(
    message: Message,
    posted: MessageEntries,
    wallet: Wallet | None,
    tariffs: Sequence[SmsTariff],
    *,
    reverse_undelivered: bool,
) -> MessagePlan:
    """Return what is to become of a message.

    `wallet` is that of whoever has paid for the message, or else of its sender's owner, with the
    `tariffs` that may count for it. Where nobody owes the message they are those of everybody. What
    is posted already is planned again, so that the ledger answers with it, as a duplicate.
    """
    if message.state is MessageState.DISCARDED:
        return MessagePlan(MessageState.DISCARDED)
    step = due(message.status, posted, reverse_undelivered=reverse_undelivered)
    if step is Due.REVERSAL and posted.charge is not None:
        return MessagePlan(MessageState.REVERSED, _reversal(message, posted.charge))
    if step is Due.NOTHING:
        last = posted.reversal or posted.charge
        return MessagePlan(_state_of(message.status, posted), same_again(last) if last else None)
    rated = rate(message, wallet, tariffs)
    if rated is MessageState.NOT_CHARGED:
        return MessagePlan(rated, free=f"sent before messages by {message.channel} had a price")
    if wallet is None or isinstance(rated, MessageState):
        return MessagePlan(rated)
    return MessagePlan(rated, _charge(message, wallet.org_id, rated))


def billed(
    message: Message, wallet: Wallet | None, planned: MessagePlan, posting: Posting | None
) -> MessageBill:
    """Return what became of a message once its plan is posted.

    `wallet` is the payer's as it was before the posting.
    """
    charge = planned.rated if isinstance(planned.rated, MessageCharge) else None
    refused = posting is not None and posting.outcome is Outcome.REFUSED
    priced = MessageState.DEBT_LIMIT if refused else MessageState.CHARGED
    return MessageBill(
        sid=message.sid,
        status=message.status,
        state=priced if isinstance(planned.rated, MessageCharge) else planned.rated,
        org_id=wallet.org_id if wallet else None,
        charge=charge,
        posting=posting,
        is_short=charge is not None and is_short(wallet, posting),
        is_known=message.facts is not None,
        free=planned.free,
    )


def _state_of(status: MessageStatus, posted: MessageEntries) -> MessageState:
    """Return the state of a message for which nothing is due."""
    if posted.reversal:
        return MessageState.REVERSED
    if posted.charge:
        return MessageState.CHARGED
    return MessageState.NOT_CHARGED if status.is_final else MessageState.PENDING


def _charge(message: Message, org_id: str, charge: MessageCharge) -> Transfer | None:
    """Return the charge, from the wallet to usage; None when there is nothing to charge.

    It is refused below the debt limit.
    """
    if message.facts is None or message.facts.sent_at is None:
        raise ValueError(f"message {message.sid} was priced without knowing when it was sent")
    if not charge.amount.amount_minor:
        return None
    return Transfer(
        key=message_key(message.sid),
        kind=EntryKind.SMS,
        org_id=org_id,
        debit_account=wallet_account(org_id),
        credit_account=Account.USAGE_SMS,
        amount=charge.amount,
        occurred_at=message.facts.sent_at,
        cause=f"twilio message {message.sid}",
        actor="system",
        refusable=True,
        note=charge.note,
    )


def _reversal(message: Message, charged: Entry) -> Transfer:
    """Return the reversal of a charge. It goes to whoever has paid, whoever owns the sender now."""
    return Transfer(
        key=reversal_key(charged.key),
        kind=EntryKind.SMS_REVERSAL,
        org_id=charged.org_id,
        debit_account=charged.credit_account,
        credit_account=charged.debit_account,
        amount=charged.amount,
        occurred_at=charged.occurred_at,
        cause=f"twilio message {message.sid}",
        actor="system",
        reverses=charged.key,
        note=f"Twilio says: {message.status}",
    )
