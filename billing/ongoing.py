"""Calls that are going on: when to ask Vapi about one whose report does not come."""

from dataclasses import dataclass
from enum import StrEnum

# A report comes within seconds of the end. This long after a call must have ended it is lost.
REPORT_IS_LOST_SECONDS = 180.0
# The same after Vapi itself has said that the call ended.
ENDED_WITHOUT_REPORT_SECONDS = 60.0


class CallStatus(StrEnum):
    """What a `status-update` of Vapi's says; the first three come before anything costs money."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    FORWARDING = "forwarding"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class OngoingCall:
    """A call that is known before its report, which should have come `due_in_seconds` from now."""

    call_id: str
    assistant_id: str | None
    phone_number_id: str | None
    due_in_seconds: float


def report_due_in_seconds(cap_seconds: int) -> float:
    """Say when the report of a call that begins now is overdue, if it lasts as long as it may."""
    return cap_seconds + REPORT_IS_LOST_SECONDS


def due_in_seconds(status: CallStatus, cap_seconds: int) -> float | None:
    """Say when the report of a call in this status is overdue; None when nothing is to be expected.

    `cap_seconds` is the longest that the call may last.
    """
    match status:
        case CallStatus.IN_PROGRESS | CallStatus.FORWARDING:
            return report_due_in_seconds(cap_seconds)
        case CallStatus.ENDED:
            return ENDED_WITHOUT_REPORT_SECONDS
        case CallStatus.SCHEDULED | CallStatus.QUEUED | CallStatus.RINGING:
            return None
