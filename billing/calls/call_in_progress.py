"""Calls in progress, and when to ask Vapi about one whose report does not come."""

from dataclasses import dataclass
from enum import StrEnum

# A report comes within seconds of a call's end. This long after the latest possible end it is lost.
REPORT_IS_LOST_SECONDS = 180.0
# The same after Vapi itself has said that the call ended.
ENDED_WITHOUT_REPORT_SECONDS = 60.0


class CallStatus(StrEnum):
    """The statuses in Vapi's `status-update`; the first three come before a call costs money."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RINGING = "ringing"
    IN_PROGRESS = "in-progress"
    FORWARDING = "forwarding"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class OngoingCall:
    """A call whose report has not come yet, and is overdue `due_in_seconds` from now.

    `cap_seconds` is how long the gate let it in for; None where it was not asked.
    """

    call_id: str
    assistant_id: str | None
    phone_number_id: str | None
    due_in_seconds: float
    cap_seconds: int | None = None


def report_due_in_seconds(cap_seconds: int) -> float:
    """Return in how many seconds the report is overdue of a call that begins now.

    `cap_seconds` is the longest that the call may last.
    """
    return cap_seconds + REPORT_IS_LOST_SECONDS


def due_in_seconds(status: CallStatus, cap_seconds: int) -> float | None:
    """Return in how many seconds the report is overdue of a call that has this status now.

    None when no report is to be expected yet. `cap_seconds` is the longest that the call may last.
    """
    match status:
        case CallStatus.IN_PROGRESS | CallStatus.FORWARDING:
            return report_due_in_seconds(cap_seconds)
        case CallStatus.ENDED:
            return ENDED_WITHOUT_REPORT_SECONDS
        case CallStatus.SCHEDULED | CallStatus.QUEUED | CallStatus.RINGING:
            return None
