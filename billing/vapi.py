"""Vapi's JSON, read: what an end-of-call report and a call object say about an ended call.

Only what billing needs is taken: no names, numbers, transcripts or recordings.
Source: Vapi's API reference (server messages; `GET /call`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.call import EndedCall
from billing.ongoing import CallStatus, OngoingCall, due_in_seconds

_LONGEST_TEXT = 200
# A time outside these years is a mistake, and PostgreSQL's range is wider than Python's.
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
# A number of more digits is a mistake too, or an attack on the arithmetic.
_MOST_DIGITS = 12


def call_from_report(message: Mapping[str, Any], call_id: str) -> EndedCall:
    """Read an `end-of-call-report`: its top level is final, its `call` may be an early snapshot.

    A time that is missing or unreadable is unknown, and Vapi's API is asked for it.
    """
    return EndedCall(
        call_id=call_id,
        assistant_id=assistant_of(message),
        phone_number_id=phone_number_of(message),
        started_at=_moment(message.get("startedAt")),
        ended_at=_moment(message.get("endedAt")),
        reported_seconds=_decimal(message.get("durationSeconds")),
        ended_reason=_text(message.get("endedReason")),
    )


def ongoing_call(
    message: Mapping[str, Any], call_id: str, longest_call_seconds: int
) -> OngoingCall | None:
    """Read a `status-update` of a call that has been connected, or was; None of any other."""
    try:
        status = CallStatus(message.get("status") or "")
    except ValueError:
        return None
    due = due_in_seconds(status, longest_call_seconds)
    if due is None:
        return None
    return OngoingCall(call_id, assistant_of(message), phone_number_of(message), due)


def assistant_of(message: Mapping[str, Any]) -> str | None:
    """Read which assistant a server message is about."""
    return _text(_inner(message, "call", "assistantId")) or _text(
        _inner(message, "assistant", "id")
    )


def phone_number_of(message: Mapping[str, Any]) -> str | None:
    """Read which of our phone numbers a server message is about."""
    return _text(_inner(message, "call", "phoneNumberId")) or _text(
        _inner(message, "phoneNumber", "id")
    )


def call_from_api(call: Mapping[str, Any]) -> EndedCall:
    """Read a call whose `status` is `ended`; without `startedAt` it never connected."""
    ended_at = _moment(call.get("endedAt")) or _moment(call.get("updatedAt"))
    return EndedCall(
        call_id=call["id"],
        assistant_id=_text(call.get("assistantId")),
        phone_number_id=_text(call.get("phoneNumberId")),
        started_at=_moment(call.get("startedAt")),
        ended_at=ended_at or _moment(call.get("createdAt")),
        ended_reason=_text(call.get("endedReason")),
        provider_ended=True,
    )


def _inner(message: Mapping[str, Any], name: str, field: str) -> object:
    inner = message.get(name)
    return inner.get(field) if isinstance(inner, Mapping) else None


def _text(value: object) -> str | None:
    """Read an id; one that cannot be stored (empty, huge, with a NUL) is as good as none."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and "\0" not in value:
        return value
    return None


def _decimal(value: object) -> Decimal | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _MOST_DIGITS else None


def _moment(value: object) -> datetime | None:
    """Read an ISO 8601 time; one without an offset is UTC, as all of Vapi's are."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment.astimezone(UTC) if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None
