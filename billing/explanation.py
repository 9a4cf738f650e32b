"""Explain any penny: what an entry is for, what was heard of it, and how its amount came about."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.adjustment import Adjustment
from billing.adjustment import workflow_id as adjustment_workflow_id
from billing.call import CallRecord, call_workflow_id
from billing.ledger import Entry
from billing.message import MessageRecord, MessageStatus, message_workflow_id
from billing.payment import payment_workflow_id
from billing.sms_tariff import SmsTariff
from billing.tariff import Tariff
from billing.webhook import END_OF_CALL, call_event_key


class SubjectKind(StrEnum):
    """What entries are about."""

    CALL = "call"
    MESSAGE = "message"
    PAYMENT = "payment"
    ADJUSTMENT = "adjustment"


@dataclass(frozen=True, slots=True)
class Subject:
    """The call, message, payment or adjustment that an entry is about, and whose process it is."""

    kind: SubjectKind
    subject_id: str
    workflow_id: str

    @property
    def event_keys(self) -> tuple[str, ...]:
        """The keys of the webhooks that can have led to it; those of payments are Stripe's own."""
        match self.kind:
            case SubjectKind.CALL:
                return (call_event_key(self.subject_id, END_OF_CALL),)
            case SubjectKind.MESSAGE:
                return tuple(f"{self.subject_id}:{status}" for status in MessageStatus)
        return ()


@dataclass(frozen=True, slots=True)
class HeardEvent:
    """A webhook about the subject: `key` is the event's, as its sender or we name it."""

    source: str
    key: str
    type: str
    status: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is known about an entry.

    `related` are the entries that it reverses or corrects, and that do so to it. Of `call`,
    `message` and `adjustment` the one that it is about is there, with the tariff that it was rated
    by; the arithmetic is in the entry's `note`.
    """

    entry: Entry
    subject: Subject | None
    workflow_url: str | None = None
    related: tuple[Entry, ...] = ()
    events: tuple[HeardEvent, ...] = ()
    call: CallRecord | None = None
    message: MessageRecord | None = None
    adjustment: Adjustment | None = None
    tariff: Tariff | None = None
    sms_tariff: SmsTariff | None = None


def subject_of(entry: Entry) -> Subject | None:
    """Read from an entry's key what it is about; from its cause where the key names a refund."""
    name, _, rest = entry.key.partition(":")
    subject_id = rest.partition(":")[0]
    match name:
        case "call":
            return Subject(SubjectKind.CALL, subject_id, call_workflow_id(subject_id))
        case "sms":
            return Subject(SubjectKind.MESSAGE, subject_id, message_workflow_id(subject_id))
        case "adjustment":
            return Subject(SubjectKind.ADJUSTMENT, subject_id, adjustment_workflow_id(subject_id))
        case "payment":
            return _payment(subject_id)
        case "refund" | "dispute":
            return _payment(entry.cause.rpartition(" of payment ")[2])
    return None


def _payment(payment_id: str) -> Subject:
    return Subject(SubjectKind.PAYMENT, payment_id, payment_workflow_id(payment_id))
