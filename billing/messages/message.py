"""A message: how far it has come at Twilio, and what became of it here."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from billing.ledger.entry import Posting
from billing.ledger.money import Money
from billing.tariffs.channel import Channel, channel_of
from billing.tariffs.sms_tariff import MessageCharge
from billing.text import GIVEN_UP_BY_SUPPORT


class MessageStatus(StrEnum):
    """Twilio's statuses of outgoing messages, in the order in which they outrank each other.

    A message that Twilio did not deliver outranks one that it did: what was given back once stays
    given back, so that a contradiction ends the same in every order. Source: Twilio's "Message
    status values" and "Outbound message status in status callbacks".
    """

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def rank(self) -> int:
        """Its place in the order. A message never goes back to a status of a lower rank."""
        return _RANKS[self]

    @property
    def is_taken(self) -> bool:
        """Whether Twilio has tried to deliver it, which is what Twilio charges for.

        Source: Twilio's "Will I be charged if Twilio encounters an error when sending an SMS?":
        `sent`, `delivered` and `undelivered` are charged, `failed` never left Twilio.
        """
        return self.rank >= MessageStatus.SENT.rank and not self.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether it never left Twilio, and never will."""
        return self in (MessageStatus.FAILED, MessageStatus.CANCELED)

    @property
    def is_final(self) -> bool:
        """Whether no status is expected after it that would change what is due."""
        return self.rank >= MessageStatus.DELIVERED.rank


_RANKS = {status: rank for rank, status in enumerate(MessageStatus)}


@dataclass(frozen=True, slots=True)
class SeenMessage:
    """What a status callback says; nothing personal in it. `key` is the event's in the inbox.

    `channel` is None where the callback names none. It may yet be another than SMS.
    """

    sid: str
    account_sid: str
    status: MessageStatus
    error_code: int | None = None
    key: str = ""
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message's id, and the Twilio account that it belongs to."""

    sid: str
    account_sid: str


@dataclass(frozen=True, slots=True)
class MessageFacts:
    """What only Twilio's API says of a message. It stays in PostgreSQL, for it names the sender.

    `segments` is None while Twilio does not know. `destination` is the recipient's number, of which
    only the first digits are kept. `channel` is None where Twilio does not say who sends it; of
    what is stored, it is what a callback has said then.
    """

    sent_at: datetime | None
    segments: int | None
    destination: str | None
    sender: str | None
    service_sid: str | None
    channel: Channel | None = None


class MessageState(StrEnum):
    """Where a message stands. Those after DISCARDED wait, as a parked workflow."""

    PENDING = "pending"
    CHARGED = "charged"
    REVERSED = "reversed"
    NOT_CHARGED = "not_charged"
    DISCARDED = "discarded"
    UNKNOWN_CHANNEL = "unknown_channel"
    UNKNOWN_SEGMENTS = "unknown_segments"
    UNKNOWN_SENDER = "unknown_sender"
    NO_TARIFF = "no_tariff"
    DEBT_LIMIT = "debt_limit"

    @property
    def waits(self) -> bool:
        """Whether something is due that could not be posted."""
        return self in _WAITING


_WAITING = frozenset(
    {
        MessageState.UNKNOWN_CHANNEL,
        MessageState.UNKNOWN_SEGMENTS,
        MessageState.UNKNOWN_SENDER,
        MessageState.NO_TARIFF,
        MessageState.DEBT_LIMIT,
    }
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it is known: its highest status seen, and Twilio's facts once they are read.

    `org_id` is its owner, once one was found. It stays that, whoever has the sender afterwards.
    `priced_minor` is what it cost when it was priced last.
    """

    sid: str
    account_sid: str
    status: MessageStatus
    state: MessageState
    facts: MessageFacts | None = None
    org_id: str | None = None
    priced_minor: int | None = None

    @property
    def channel(self) -> Channel | None:
        """What it goes over; None until Twilio was asked. Version 0.1 wrote none down."""
        if self.facts is None:
            return None
        return self.facts.channel or channel_of(self.sid, self.facts.sender)


@dataclass(frozen=True, slots=True)
class MessageBill:
    """What became of one message: its state, and its charge and posting if it got that far.

    `is_short` says that the wallet's card should be charged: `billing.ledger.wallet.is_short`.
    `is_known` says that Twilio was asked who sent it. `free` is why a message costs nothing that
    Twilio has taken.
    """

    sid: str
    status: MessageStatus
    state: MessageState
    org_id: str | None = None
    charge: MessageCharge | None = None
    posting: Posting | None = None
    is_short: bool = False
    is_known: bool = True
    free: str | None = None

    @property
    def needs_facts(self) -> bool:
        """Whether Twilio must be asked: for its segments, or for who sent it.

        A message that has ended counts in its sender's delivery rate, charged or not. A channel
        that was not known may be by now.
        """
        return self.state in (MessageState.UNKNOWN_SEGMENTS, MessageState.UNKNOWN_CHANNEL) or (
            self.status.is_final and not self.is_known
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done or to be waited for."""
        return not self.state.waits and (
            self.status.is_final or self.state is MessageState.DISCARDED
        )


def message_workflow_id(sid: str) -> str:
    """Return the id of a message's workflow. Operators find the message by it."""
    return f"sms/{sid}"


def highest(seen: Iterable[SeenMessage]) -> list[SeenMessage]:
    """Return what ranks highest of each message, with its error code, in the order of ids.

    Its channel is what any of them says.
    """
    best: dict[str, SeenMessage] = {}
    for one in seen:
        known = best.get(one.sid, one)
        higher, lower = (one, known) if one.status.rank > known.status.rank else (known, one)
        best[one.sid] = replace(higher, channel=higher.channel or lower.channel)
    return [best[sid] for sid in sorted(best)]


@dataclass(frozen=True, slots=True)
class MessageNews:
    """What was heard of a message since it was last looked at.

    `heard` is empty when the message is only to be looked at again.
    """

    ref: MessageRef
    heard: tuple[SeenMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class DiscardedMessage:
    """A person's decision to give a charge up: who, and why.

    `seen` is what was first heard of the message, for nothing may be written down of it yet.
    `event_keys` are the callbacks that are given up with it. Older processes say neither.
    """

    sid: str
    note: str
    seen: SeenMessage | None = None
    event_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message as callwallet knows it, without its numbers and its text.

    `workflow_id` names the workflow that saw it last: `sms/{sid}`, or `inbox/drain` in a flood.
    """

    position: int
    sid: str
    account_sid: str
    status: MessageStatus
    state: MessageState
    org_id: str | None
    channel: Channel | None
    segments: int | None
    amount: Money | None
    error_code: int | None
    sent_at: datetime | None
    workflow_id: str
    note: str
    first_seen_at: datetime
    updated_at: datetime

    def for_organization(self) -> "MessageRecord":
        """Return what an organisation is shown of it: not who has given it up, and why."""
        is_given_up = self.state is MessageState.DISCARDED
        return replace(self, note=GIVEN_UP_BY_SUPPORT) if is_given_up else self
