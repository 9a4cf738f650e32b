"""Build and sign Vapi's server messages, for the stand-in, the demo, tests and benchmarks.

Shapes follow docs.vapi.ai: server-url/events, api-reference (ServerMessageEndOfCallReport, Call)
and server-url/server-authentication.
"""

import hashlib
import hmac
import time
from datetime import UTC, datetime
from typing import Any, Literal

AuthMode = Literal["bearer", "secret", "hmac"]
Status = Literal["scheduled", "queued", "ringing", "in-progress", "forwarding", "ended"]

VAPI_ACCOUNT_ID = "5ee1c0de-0000-4000-8000-acc000000001"
"""The value of `orgId`: the account at Vapi. It is the same for all tenants, so no tenant's id."""

# The fields of the call that is nested in a message, and the fields beside it.
_SNAPSHOT = (
    "id", "orgId", "createdAt", "updatedAt", "type", "assistantId", "assistant", "squadId", "squad",
    "workflowId", "phoneNumberId", "customer", "phoneCallProvider", "phoneCallTransport",
)  # fmt: skip
_FACTS = (
    "startedAt", "endedAt", "endedReason", "cost", "artifact", "analysis",
)  # fmt: skip

_COST_SHARES = {"transport": 0.10, "stt": 0.10, "llm": 0.20, "tts": 0.25, "vapi": 0.35}
_COST_PER_MINUTE = 0.11


def iso(moment: datetime) -> str:
    """Return a moment as Vapi writes it: UTC, milliseconds, Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cost_breakdown(duration_seconds: float) -> dict[str, Any]:
    """Build what Vapi charges the platform, in USD. It is never what a tenant is charged."""
    total = round(duration_seconds / 60 * _COST_PER_MINUTE, 4)
    parts = {name: round(total * share, 4) for name, share in _COST_SHARES.items()}
    counts = {"llmPromptTokens": 640, "llmCompletionTokens": 96, "ttsCharacters": 410}
    return parts | {"chat": 0, "total": total} | counts


def artifact() -> dict[str, Any]:
    """Build what Vapi keeps of the conversation, in its smallest form."""
    said = "AI: Hello, how can I help?\nUser: I would like to book a table.\n"
    return {"messages": [], "transcript": said, "variableValues": {}}


def call_object(
    call_id: str,
    assistant_id: str | None,
    *,
    created_at: datetime,
    started_at: datetime | None = None,
    ended_at: datetime | None = None,
    status: str = "ended",
    ended_reason: str = "customer-ended-call",
    phone_number_id: str | None = None,
    customer_number: str = "+447700900123",
    call_type: str = "inboundPhoneCall",
) -> dict[str, Any]:
    """Build a call as `GET /call` shows it: no duration, no `startedAt` if it never connected."""
    call: dict[str, Any] = {
        "id": call_id,
        "orgId": VAPI_ACCOUNT_ID,
        "createdAt": iso(created_at),
        "updatedAt": iso(ended_at or started_at or created_at),
        "type": call_type,
        "status": status,
        "customer": {"number": customer_number},
        "phoneCallProvider": "twilio",
        "phoneCallTransport": "pstn",
    }
    known = {"assistantId": assistant_id, "phoneNumberId": phone_number_id}
    call |= {name: value for name, value in known.items() if value is not None}
    if started_at is not None:
        call["startedAt"] = iso(started_at)
    return call | ended_fields(started_at, ended_at, ended_reason) if ended_at else call


def ended_fields(
    started_at: datetime | None, ended_at: datetime, ended_reason: str
) -> dict[str, Any]:
    """Build the fields that a call gains when it ends."""
    seconds = (ended_at - started_at).total_seconds() if started_at else 0.0
    breakdown = cost_breakdown(seconds)
    return {
        "status": "ended",
        "endedAt": iso(ended_at),
        "endedReason": ended_reason,
        "cost": breakdown["total"],
        "costBreakdown": breakdown,
        "artifact": artifact(),
        "analysis": {"summary": "The caller booked a table.", "successEvaluation": "true"},
    }


def end_of_call_report(
    call_id: str,
    assistant_id: str | None,
    started_at: datetime | None,
    ended_at: datetime,
    *,
    created_at: datetime | None = None,
    ended_reason: str = "customer-ended-call",
    phone_number_id: str | None = None,
    customer_number: str = "+447700900123",
    call_type: str = "inboundPhoneCall",
    sent_at: datetime | None = None,
) -> dict[str, Any]:
    """Build an `end-of-call-report`. `started_at` is None for a call that never connected."""
    call = call_object(
        call_id,
        assistant_id,
        created_at=created_at or started_at or ended_at,
        started_at=started_at,
        ended_at=ended_at,
        ended_reason=ended_reason,
        phone_number_id=phone_number_id,
        customer_number=customer_number,
        call_type=call_type,
    )
    return report_of(call, sent_at or ended_at)


def report_of(call: dict[str, Any], sent_at: datetime) -> dict[str, Any]:
    """Build the report of an ended call.

    The facts are top-level. The nested `call` is as Vapi knew it while the call still ran.
    """
    snapshot = {name: call[name] for name in _SNAPSHOT if name in call}
    message = {
        "type": "end-of-call-report",
        "timestamp": int(sent_at.timestamp() * 1000),
        **{name: call[name] for name in _FACTS if name in call},
        **_duration(call),
        "costs": [],
        "customer": call["customer"],
        "call": snapshot | {"status": "in-progress"},
    }
    return {"message": message}


def _duration(call: dict[str, Any]) -> dict[str, Any]:
    """Build the undocumented duration fields, which only calls that connected have."""
    if "startedAt" not in call or "endedAt" not in call:
        return {}
    started, ended = (datetime.fromisoformat(call[name]) for name in ("startedAt", "endedAt"))
    seconds = (ended - started).total_seconds()
    minutes = round(seconds / 60, 4)
    return {
        "durationMs": int(seconds * 1000),
        "durationSeconds": seconds,
        "durationMinutes": minutes,
    }


def status_update(call: dict[str, Any], status: str, sent_at: datetime) -> dict[str, Any]:
    """Build a `status-update` (scheduled, queued, ringing, in-progress, forwarding, ended)."""
    message: dict[str, Any] = {
        "type": "status-update",
        "status": status,
        "timestamp": int(sent_at.timestamp() * 1000),
        "call": call,
        "customer": call.get("customer", {}),
    }
    if status == "ended":
        message["endedReason"] = call.get("endedReason", "customer-ended-call")
    return {"message": message}


def assistant_request(
    call_id: str,
    phone_number_id: str,
    sent_at: datetime,
    *,
    customer_number: str = "+447700900123",
) -> dict[str, Any]:
    """Build the `assistant-request` of an inbound call to a number without a fixed assistant."""
    call = call_object(
        call_id,
        None,
        created_at=sent_at,
        status="ringing",
        phone_number_id=phone_number_id,
        customer_number=customer_number,
    )
    timestamp = int(sent_at.timestamp() * 1000)
    message = {"type": "assistant-request", "timestamp": timestamp, "call": call}
    return {"message": message | {"customer": call["customer"]}}


def auth_headers(
    mode: AuthMode, secret: str, body: bytes, now: float | None = None
) -> dict[str, str]:
    """Return the headers that prove that a message is Vapi's, in one of Vapi's three ways.

    Only `hmac` uses the body and `now`, which is seconds since 1970, or the present if None. It is
    sha256 in hex over `{timestamp}.{body}`, in `x-signature`, with `x-timestamp` in milliseconds.
    """
    content_type = {"Content-Type": "application/json"}
    if mode == "bearer":
        return content_type | {"Authorization": f"Bearer {secret}"}
    if mode == "secret":
        return content_type | {"X-Vapi-Secret": secret}
    timestamp = str(int((time.time() if now is None else now) * 1000))
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return content_type | {"x-timestamp": timestamp, "x-signature": signature.hexdigest()}
