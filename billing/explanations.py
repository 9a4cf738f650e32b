"""Explain an entry: what it is for, which webhooks led to it, and how its amount was computed."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from billing.adjustments import Adjustment
from billing.adjustments import workflow_id as adjustment_workflow_id
from billing.admin_log import AdminRecord
from billing.calls.call import call_workflow_id
from billing.calls.call_record import CallRecord
from billing.inbox.webhook_event import END_OF_CALL, call_event_key
from billing.ledger.entry import Entry
from billing.messages.message import MessageRecord, MessageStatus, message_workflow_id
from billing.payments.payment import payment_workflow_id
from billing.tariffs.sms_tariff import SmsTariff
from billing.tariffs.tariff import Tariff


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
        """The keys of the webhooks that can have led to it.

        None for a payment, whose events have ids that Stripe makes up, nor for an adjustment.
        """
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
    by; the arithmetic is in the entry's `note`. `changes` are what people had changed last, by
    then, about the organisation's limits, and about what it was rated by; for operators only.
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
    changes: tuple[AdminRecord, ...] = ()

    @property
    def changeable(self) -> tuple[str, ...]:
        """The ids of what people may have set that it came about by."""
        tariff = self.tariff and self.tariff.tariff_id
        sms_tariff = self.sms_tariff and self.sms_tariff.sms_tariff_id
        assistant = self.call and self.call.call.assistant_id
        subject = self.subject and self.subject.subject_id
        return tuple(one for one in (tariff, sms_tariff, assistant, subject) if one)

    def for_organization(self) -> "Explanation":
        """Return what an organisation is shown of it."""
        return replace(
            self,
            entry=self.entry.for_organization(),
            related=tuple(one.for_organization() for one in self.related),
            call=self.call and self.call.for_organization(),
            message=self.message and self.message.for_organization(),
            adjustment=self.adjustment and self.adjustment.for_organization(),
            changes=(),
        )


def subject_of(entry: Entry) -> Subject | None:
    """Return what an entry is about, read from its key; None for a key of no known form.

    The key of a refund or a dispute does not name the payment, but the entry's cause does.
    """
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
