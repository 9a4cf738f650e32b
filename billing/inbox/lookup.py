"""What became of a webhook, for operators. Nothing that it said about people is in it."""

from dataclasses import dataclass
from datetime import datetime

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import EventStatus, Source
from billing.ledger.entry import Entry
from billing.messages.message import SeenMessage


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """A webhook in the inbox.

    While it waits it is `due_at` then. Its body was removed at `body_removed_at`, of what Stripe
    told all but ids and amounts.
    """

    event_id: int
    source: Source
    key: str
    type: str
    subject: str
    status: EventStatus
    received_at: datetime
    due_at: datetime | None = None
    handled_at: datetime | None = None
    body_removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A webhook, with what it said of its call or message, and with what has come of it.

    `state` is where that call or message stands, `workflow_id` what saw it last, or will: a payment
    has only that. `entries` are the charge or credit of the subject with what reverses it, and what
    the event itself returned.
    """

    event: ReceivedEvent
    call: EndedCall | None = None
    message: SeenMessage | None = None
    state: str | None = None
    workflow_id: str | None = None
    workflow_url: str | None = None
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceivedFilter:
    """Which webhooks are asked for. A field that is None restricts nothing."""

    source: Source | None = None
    subject: str | None = None
    key: str | None = None
    type: str | None = None
    status: EventStatus | None = None
    received_after: datetime | None = None
    received_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReceivedPage:
    """A page of the webhooks that were asked for, newest first.

    There may be more before the event `further`, if that is given.
    """

    items: tuple[ReceivedEvent, ...]
    further: int | None = None
