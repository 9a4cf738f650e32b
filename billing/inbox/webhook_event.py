"""A webhook as the inbox keeps it: who sent it, what makes it one event, and when it is due."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from billing.calls.call import EndedCall
from billing.calls.call_in_progress import OngoingCall
from billing.ledger.entry import NO_POSTINGS, PostingCounts
from billing.messages.message import SeenMessage

# An event in the one-workflow lane whose workflow has not settled it by now is looked at again.
OWN_LANE_GRACE_SECONDS = 15.0
# A batch that could not settle an event gives the workflow that it hands it to this long.
HANDED_OVER_GRACE_SECONDS = 60.0
# One that a batch could not settle, and that has to wait even for its own workflow, is due then.
POSTPONED_SECONDS = 2.0
# Without a nudge a drain looks this often for events whose workflow was never started.
SWEEP_EVERY_SECONDS = 10.0

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


class Drain(StrEnum):
    """Which drain settles what waits in the inbox; the value is the id of its workflow."""

    INBOX = "inbox/drain"
    MESSAGES = "inbox/messages"


@dataclass(frozen=True, slots=True)
class PaymentHint:
    """A Stripe event about a payment: a reason to look at it again. `key` is the event's id.

    It is empty where a process is started, and the signal that comes with the start says it.
    """

    payment_id: str
    key: str = ""


@dataclass(frozen=True, slots=True)
class ObjectHint:
    """A thin event of Stripe's: it names an object that may lead to a payment, and shows nothing.

    `object_type` is one of LEADING_TO_A_PAYMENT. `key` is the event's id.
    """

    object_type: str
    object_id: str
    key: str

    @property
    def workflow_id(self) -> str:
        """The process that finds the payment: one for each event, so none has to be told more."""
        return f"stripe-event/{self.key}"


@dataclass(frozen=True, slots=True)
class SessionHint:
    """A Stripe event about a checkout session: its checkout looks at it, and so may its payment.

    `checkout_id` is the checkout's workflow. It is not kept, for that workflow looks by itself.
    """

    checkout_id: str
    payment: PaymentHint | None = None


# The objects of Stripe's, beside a payment intent itself, of which each may name one.
LEADING_TO_A_PAYMENT = frozenset({"charge", "checkout.session", "dispute", "refund"})

# What a webhook says, as far as anything follows from it.
Facts = EndedCall | OngoingCall | SeenMessage | PaymentHint | SessionHint | ObjectHint


@dataclass(frozen=True, slots=True)
class Handling:
    """What becomes of the events of a source that wait for their effect.

    `drain` settles what no workflow of its own has settled. `kept` is the type of the facts that
    are kept beside the body, unless key and subject say all (a PaymentHint). What comes in `floods`
    waits for the drain while they last, and gets no workflow of its own.
    """

    drain: Drain
    kept: type[EndedCall] | type[SeenMessage] | type[ObjectHint]
    floods: bool


HANDLING: Mapping[Source, Handling] = {
    Source.STRIPE: Handling(Drain.INBOX, kept=ObjectHint, floods=False),
    Source.TWILIO: Handling(Drain.MESSAGES, kept=SeenMessage, floods=True),
    Source.VAPI: Handling(Drain.INBOX, kept=EndedCall, floods=True),
}


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified webhook.

    `key` makes it one event: `evt_…` at Stripe; Vapi and Twilio have no event ids, so there it is
    `{call id}:{message type}` and `{MessageSid}:{MessageStatus}`. `subject` is the payment, call or
    message that it is about. `body` is empty where it is not kept. `facts` is what follows from it:
    those of an event that waits say which process it starts, those of an ignored one what is to be
    noted all the same. `due_in_seconds` is how long the drain leaves it to its own workflow.
    `outcome` is how one is counted that is ignored for a reason of its own.
    """

    source: Source
    key: str
    type: str
    subject: str
    body: str
    status: EventStatus = EventStatus.WAITING
    due_in_seconds: float = 0.0
    facts: Facts | None = None
    outcome: str | None = None

    @property
    def handling(self) -> Handling:
        """What becomes of it if it waits for its effect."""
        return HANDLING[self.source]

    @property
    def identity(self) -> tuple[str, str]:
        """What the inbox keeps once."""
        return self.source.value, self.key

    @property
    def counts(self) -> bool:
        """Whether something follows from it."""
        return self.status is not EventStatus.IGNORED

    @property
    def may_flood(self) -> bool:
        """Whether it waits for its effect and comes by the thousand."""
        return self.status is EventStatus.WAITING and self.handling.floods


def call_event_key(call_id: str, message_type: str) -> str:
    """Key a Vapi message, which has no id of its own: the call alone would lose later messages."""
    return f"{call_id}:{message_type}"


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain leaves to others: calls and payments that need workflows of their own.

    So do `objects`, whose payments are yet to be found. There may be `more` than it hands over at
    once. The cards of organisations that are `short` should be charged; for their sake a drain may
    end before the inbox is empty (`cut_short`). `postings` counts what the ledger answered. What
    waits for the organisations that are `richer` may be paid now.
    """

    settled: int
    calls: tuple[EndedCall, ...] = ()
    payments: tuple[PaymentHint, ...] = ()
    more: bool = False
    short: tuple[str, ...] = ()
    cut_short: bool = False
    postings: PostingCounts = NO_POSTINGS
    richer: tuple[str, ...] = ()
    objects: tuple[ObjectHint, ...] = ()

    @property
    def handed_over(self) -> int:
        """How many workflows are started or signalled for it."""
        of_events = len(self.calls) + len(self.payments) + len(self.objects)
        return of_events + len(self.short) + len(self.richer)

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next drain, unless it is nudged."""
        if self.cut_short:
            return 0.0
        return POSTPONED_SECONDS if self.more else SWEEP_EVERY_SECONDS


@dataclass(frozen=True, slots=True)
class DrainedMessages:
    """What a drain of messages leaves to workflows of their own: what was heard, or nothing new.

    With `more`, the next drain begins at once. If events were `postponed`, there were more than it
    hands over at once. The cards of organisations that are `short` should be charged. `postings`
    counts what the ledger answered. What waits for the organisations that are `richer` may be paid
    now.
    """

    settled: int
    messages: tuple[SeenMessage, ...] = ()
    more: bool = False
    short: tuple[str, ...] = ()
    postings: PostingCounts = NO_POSTINGS
    postponed: bool = False
    richer: tuple[str, ...] = ()

    @property
    def handed_over(self) -> int:
        """How many workflows are started or signalled for it."""
        return len(self.messages) + len(self.short) + len(self.richer)

    @property
    def pause_seconds(self) -> float:
        """How long to wait before the next drain, unless it is nudged."""
        if self.more:
            return 0.0
        return POSTPONED_SECONDS if self.postponed else SWEEP_EVERY_SECONDS
