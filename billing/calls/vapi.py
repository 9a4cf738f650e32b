"""Read Vapi's JSON: what its server messages and its call objects say about a call.

Only what billing needs is taken: no names, numbers, transcripts or recordings.
Source: Vapi's API reference (server messages; `GET /call`).
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from billing.calls.call import EndedCall
from billing.calls.call_in_progress import CallStatus, OngoingCall, due_in_seconds
from billing.calls.fact_source import FactSource

_LONGEST_TEXT = 200
# A time outside these years is a mistake. PostgreSQL would store some that Python cannot read back.
_FIRST_YEAR, _LAST_YEAR = 2000, 2200
# A number of more digits is a mistake too, or meant to make the arithmetic slow.
_MOST_DIGITS = 12


def call_from_report(message: Mapping[str, Any], call_id: str) -> EndedCall:
    """Read an `end-of-call-report`.

    The times are those of its top level, which are final: its `call` may be an early snapshot. A
    time that is missing or unreadable is None, and Vapi's API is asked for it.
    """
    assistant_id, sources = _assistant(_inner(message, "call", "assistantId"), _took_part(message))
    return EndedCall(
        call_id=call_id,
        assistant_id=assistant_id,
        phone_number_id=phone_number_of(message),
        squad_id=squad_of(message),
        workflow_id=workflow_of(message),
        started_at=_moment(message.get("startedAt")),
        ended_at=_moment(message.get("endedAt")),
        reported_seconds=_decimal(message.get("durationSeconds")),
        ended_reason=text_of(message.get("endedReason")),
        provider_cost_usd=_cost(message.get("cost")),
        sources=sources or None,
    )


def ongoing_call(
    message: Mapping[str, Any], call_id: str, longest_call_seconds: int
) -> OngoingCall | None:
    """Read a `status-update` of a call that is connected, or was; None for any other."""
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
    return _assistant(_inner(message, "call", "assistantId"), _took_part(message))[0]


def squad_of(message: Mapping[str, Any]) -> str | None:
    """Read which squad a call was started with, which then answers instead of one assistant."""
    return text_of(_inner(message, "call", "squadId"))


def workflow_of(message: Mapping[str, Any]) -> str | None:
    """Read which workflow of Vapi's a call was started with, instead of an assistant."""
    return text_of(_inner(message, "call", "workflowId"))


def phone_number_of(message: Mapping[str, Any]) -> str | None:
    """Read which of our phone numbers a server message is about."""
    return text_of(_inner(message, "call", "phoneNumberId")) or text_of(
        _inner(message, "phoneNumber", "id")
    )


def has_ended(call: Mapping[str, Any]) -> bool:
    """Return whether a call of Vapi's API has ended: its status says so, or its end and why.

    The status may lag behind: a call that has an end and a reason for it does not go on.
    """
    is_over = _moment(call.get("endedAt")) is not None and text_of(call.get("endedReason"))
    return call.get("status") == "ended" or bool(is_over)


def call_from_api(call: Mapping[str, Any]) -> EndedCall:
    """Read a call that has ended; without `startedAt` it never connected.

    `updatedAt` is when the record was changed, and no end of a call that took time. Where there is
    neither start nor end, it says when the call was that never was.
    """
    started_at, ended_at = _moment(call.get("startedAt")), _moment(call.get("endedAt"))
    recorded_at = _moment(call.get("updatedAt")) or _moment(call.get("createdAt"))
    assistant_id, sources = _assistant(call.get("assistantId"), _active(call))
    if ended_at is not None:
        sources["ended_at"] = FactSource.API
    return EndedCall(
        call_id=call["id"],
        assistant_id=assistant_id,
        phone_number_id=text_of(call.get("phoneNumberId")),
        squad_id=text_of(call.get("squadId")),
        workflow_id=text_of(call.get("workflowId")),
        started_at=started_at,
        ended_at=ended_at or (recorded_at if started_at is None else None),
        ended_reason=text_of(call.get("endedReason")),
        provider_cost_usd=_cost(call.get("cost")),
        provider_ended=True,
        sources=sources or None,
    )


def _assistant(
    named: object, took_part: Iterable[object]
) -> tuple[str | None, dict[str, FactSource]]:
    """Read the assistant that a call names, or else the first that took part; and who says so.

    That one took part counts for less than any word about whose the call is.
    """
    if (assistant_id := text_of(named)) is not None:
        return assistant_id, {}
    heard_of = next((one for one in map(text_of, took_part) if one is not None), None)
    return heard_of, {"assistant_id": FactSource.NOTICE} if heard_of else {}


def _took_part(message: Mapping[str, Any]) -> Iterator[object]:
    """Yield the ids of the assistants that a server message has beside its call.

    Nothing is read from metadata: whoever has a public key writes it.
    """
    call = message.get("call")
    yield from _active(message)
    yield from _active(call if isinstance(call, Mapping) else {})
    yield _inner(message, "assistant", "id")


def _active(told: Mapping[str, Any]) -> Iterator[object]:
    """Yield the ids of the assistants that were active, in their order, then of a squad's members.

    Source: Vapi's `Artifact.assistantActivations` and `Call.squad`. Those that were made for one
    call have no ids.
    """
    for holder, members in (("artifact", "assistantActivations"), ("squad", "members")):
        listed = _inner(told, holder, members)
        for one in listed if isinstance(listed, list) else ():
            yield one.get("assistantId") if isinstance(one, Mapping) else None


def _inner(message: Mapping[str, Any], name: str, field: str) -> object:
    inner = message.get(name)
    return inner.get(field) if isinstance(inner, Mapping) else None


def text_of(value: object) -> str | None:
    """Read an id; None for one that cannot be stored: empty, too long, or with a NUL."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and "\0" not in value:
        return value
    return None


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number.adjusted()) <= _MOST_DIGITS else None


def _cost(value: object) -> Decimal | None:
    """Read what Vapi charges; None for a number that is no price."""
    cost = _decimal(value)
    return cost if cost is not None and cost >= 0 else None


def _is_date(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _moment(value: object) -> datetime | None:
    """Read an ISO 8601 time. One without an offset is in UTC, as all of Vapi's times are.

    A date alone is no time: midnight would be invented.
    """
    if not isinstance(value, str) or _is_date(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment.astimezone(UTC) if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None
