"""A webhook as the inbox keeps it: who sent it, what makes it one event, and when it is due."""

from dataclasses import dataclass
from enum import StrEnum

from billing.call import EndedCall
from billing.ledger import NO_POSTINGS, Tally
from billing.message import SeenMessage
from billing.ongoing import OngoingCall

# An event in the one-workflow lane whose workflow has not settled it by now is looked at again.
OWN_LANE_GRACE_SECONDS = 15.0
# A batch that could not settle an event gives the workflow that it hands it to this long.
HANDED_OVER_GRACE_SECONDS = 60.0
# One that a batch could not settle, and that has to wait even for its own workflow, is due then.
POSTPONED_SECONDS = 2.0

END_OF_CALL = "end-of-call-report"
STATUS_UPDATE = "status-update"
ASSISTANT_REQUEST = "assistant-request"


class Source(StrEnum):
    """Who sends webhooks."""

    STRIPE = "stripe"
    TWILIO = "twilio"
    VAPI = "vapi"


class EventStatus(StrEnum):
    """Waiting until its effect is in the ledger or in a workflow that waits; or ignored."""

    WAITING = "waiting"
    HANDLED = "handled"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified webhook.

    `key` makes it one event: `evt_…` at Stripe; Vapi and Twilio have no event ids, so there it is
    `{call id}:{message type}` and `{MessageSid}:{MessageStatus}`. `subject` is the payment, call or
    message that it is about. `call` are the facts of an end-of-call report, `ongoing` that a call
    is going on, `message` those of a status callback. `due_in_seconds` is how long the drain leaves
    it to its own workflow.
    `checkout_id` is the workflow of the checkout that wants to hear of it, if any; it is not kept,
    for that workflow looks by itself.
    """

    source: Source
    key: str
    type: str
    subject: str
    body: str
    status: EventStatus = EventStatus.WAITING
    due_in_seconds: float = 0.0
    call: EndedCall | None = None
    ongoing: OngoingCall | None = None
    message: SeenMessage | None = None
    checkout_id: str | None = None


def call_event_key(call_id: str, message_type: str) -> str:
    """Key a Vapi message, which has no id of its own: the call alone would lose later messages."""
    return f"{call_id}:{message_type}"


@dataclass(frozen=True, slots=True)
class PaymentHint:
    """A Stripe event about a payment: a reason to look at it again. `key` is the event's id."""

    payment_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain leaves to others: calls and payments that need workflows of their own.

    There may be `more` than it hands over at once. The cards of organisations that are `short`
    should be charged; for their sake a drain may end before the inbox is empty (`cut_short`).
    `postings` counts what the ledger answered.
    """

    settled: int
    calls: tuple[EndedCall, ...] = ()
    payments: tuple[PaymentHint, ...] = ()
    more: bool = False
    short: tuple[str, ...] = ()
    cut_short: bool = False
    postings: Tally = NO_POSTINGS


@dataclass(frozen=True, slots=True)
class DrainedMessages:
    """What a drain of messages leaves to workflows of their own: what was heard, or nothing new.

    There may be `more` than it hands over at once. The cards of organisations that are `short`
    should be charged. `postings` counts what the ledger answered.
    """

    settled: int
    messages: tuple[SeenMessage, ...] = ()
    more: bool = False
    short: tuple[str, ...] = ()
    postings: Tally = NO_POSTINGS
