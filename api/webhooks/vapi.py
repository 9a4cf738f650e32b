"""Vapi's server messages. Only `end-of-call-report` moves money, and only `assistant-request` is
asked for an answer; status-updates tell that a report is to be expected, and the rest is counted.

Vapi's default messages carry the conversation so far, again and again. What moves no money is kept
without its body, and only where somebody asks whether it arrived.
"""

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.gate import SPOKEN
from api.http.problems import Malformed, Unauthorized
from api.services import Services
from api.webhooks.documentation import WEBHOOK_RESPONSES, examples
from api.webhooks.exchange import (
    LARGEST_BODY,
    answer,
    counted,
    json_answer,
    name_at,
    parse_object,
    read_body,
    require_near,
    require_one_of,
    require_recent,
)
from billing.calls.gate import NoCall
from billing.calls.vapi import call_from_report, ongoing_call, phone_number_of
from billing.inbox.webhook_event import (
    ASSISTANT_REQUEST,
    END_OF_CALL,
    STATUS_UPDATE,
    EventStatus,
    Source,
    WebhookEvent,
    call_event_key,
)

router = APIRouter(tags=["webhooks"])
# A report of a call of hours has all that was said in it. Of more than other webhooks may have,
# only its facts are kept.
LARGEST_REPORT = 8 * LARGEST_BODY
_SIGNATURE = "x-signature"
_PREFIX = re.compile(r"^sha(1|256|512)=")
_ALGORITHMS = {20: "sha1", 32: "sha256", 64: "sha512"}
# In base64 they have 28, 44 or 88 characters.
_HEX = re.compile(r"([0-9a-fA-F]{40}|[0-9a-fA-F]{64}|[0-9a-fA-F]{128})")
# Of what moves no money, this is what somebody asks about: did it arrive?
_KEPT = frozenset({END_OF_CALL, STATUS_UPDATE, ASSISTANT_REQUEST})

_EXAMPLE = {
    "message": {
        "type": "end-of-call-report",
        "call": {
            "id": "0199a1f2-5b7c-7d3e-9f10-2a3b4c5d6e7f",
            "assistantId": "7e9f0a52-6c1d-4b0e-9d37-2f60a1c7f0b4",
        },
        "startedAt": "2026-11-02T12:00:00.000Z",
        "endedAt": "2026-11-02T12:03:30.000Z",
        "endedReason": "customer-ended-call",
    }
}


_ASKED = {
    "message": {
        "type": "assistant-request",
        "call": {
            "id": "0199a1f2-5b7c-7d3e-9f10-2a3b4c5d6e7f",
            "phoneNumberId": "b1f7a0c3-51f6-4f52-8f0e-6a51c5f3f7d9",
        },
    }
}
_LET_IN = {
    "assistantId": "7e9f0a52-6c1d-4b0e-9d37-2f60a1c7f0b4",
    "assistantOverrides": {"maxDurationSeconds": 600},
}
_RESPONSES = WEBHOOK_RESPONSES | {
    200: {
        "description": "To an `assistant-request`, what Vapi is to do. To any other message: it is"
        " durable (`accepted`), was before (`duplicate`), or moves no money (`ignored`)",
        "content": examples(
            report={"status": "accepted", "event": "0199a1f2-call:end-of-call-report"},
            let_in=_LET_IN,
            turned_away={"error": SPOKEN[NoCall.BALANCE_TOO_LOW]},
        ),
    }
}


@router.post(
    "/webhooks/vapi",
    responses=_RESPONSES,
    openapi_extra={
        "requestBody": {"required": True, "content": examples(report=_EXAMPLE, asked=_ASKED)}
    },
)
async def receive(request: Request) -> Response:
    """Take a server message: bearer token, `X-Vapi-Secret` or HMAC, as configured at Vapi.

    An `assistant-request` is answered with the assistant of the number and a cap that the wallet
    can pay, or with an `error` that is spoken to the caller.
    """
    services = Services.of(request)
    with counted(services.metrics, Source.VAPI):
        body, is_timed = await _body_of(request, services.vapi_secrets)
        message = message_in(body)
        if not is_timed:
            require_near(message.get("timestamp"), time.time(), services.vapi_message_seconds)
        event = event_from(message, body, services.rules.longest_call_seconds)
    if event.type == ASSISTANT_REQUEST:
        return json_answer(await services.gate.answer(phone_number_of(message), event))
    if event.type not in _KEPT:
        return answer(services.intake.ignore(event), event.key)
    return answer(await services.intake.accept(event), event.key)


async def _body_of(request: Request, secrets: Sequence[bytes]) -> tuple[bytes, bool]:
    """Read a body and verify it; return it, and whether its signature has a time.

    Nobody is read whose secret is wrong, unless it is a signature.
    """
    if _SIGNATURE not in request.headers:
        verify_vapi(request.headers, b"", secrets, time.time())
    body = await read_body(request, most=LARGEST_REPORT)
    return body, verify_vapi(request.headers, body, secrets, time.time())


def verify_vapi(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float
) -> bool:
    """Check whichever of Vapi's three credentials was configured there; raise Unauthorized.

    Return whether a time was signed, which was near `now`. HMAC, the `X-Vapi-Secret` header, or a
    bearer token, with or without `Bearer`. A signature, once sent, must be right. Source: Vapi's
    schema, its `HmacAuthenticationPlan` and `BearerAuthenticationPlan`.
    """
    signature = headers.get(_SIGNATURE)
    if signature is not None:
        return _verify_signature(signature, headers.get("x-timestamp", ""), body, secrets, now)
    scheme, _, token = headers.get("authorization", "").rpartition(" ")
    bearer = token if scheme.lower() in ("", "bearer") else ""
    shown = headers.get("x-vapi-secret") or bearer
    require_one_of([shown] if shown else [], [secret.decode() for secret in secrets])
    return False


def _verify_signature(
    shown: str, timestamp: str, body: bytes, secrets: Sequence[bytes], now: float
) -> bool:
    """Check an HMAC of the body alone, or of `{timestamp}.{body}`; raise Unauthorized.

    Return whether it is the one with the time.
    Its length says by which algorithm it was made. The time is in seconds or milliseconds.
    """
    signature = _decoded(shown)
    algorithm = _ALGORITHMS.get(len(signature))
    if algorithm is None:
        raise Unauthorized("the signature is no HMAC by SHA-1, SHA-256 or SHA-512")

    def is_of(signed: bytes) -> bool:
        right = [hmac.digest(secret, signed, algorithm) for secret in secrets]
        matches = [hmac.compare_digest(signature, one) for one in right]
        return any(matches)

    if is_of(body):
        return False
    require_recent(timestamp, now)
    if not is_of(timestamp.encode() + b"." + body):
        raise Unauthorized("the signature is wrong")
    return True


def _decoded(shown: str) -> bytes:
    """Return the bytes of a signature in hex or base64, whatever algorithm it names before them."""
    encoded = _PREFIX.sub("", shown)
    try:
        if _HEX.fullmatch(encoded):
            return bytes.fromhex(encoded)
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise Unauthorized("the signature is neither hex nor base64") from error


def message_in(body: bytes) -> dict[str, Any]:
    """Read a server message; raise Malformed."""
    message = parse_object(body).get("message")
    if not isinstance(message, dict) or name_at(message, "type") is None:
        raise Malformed("there is no message.type")
    return message


def event_from(message: dict[str, Any], body: bytes, longest_call_seconds: int) -> WebhookEvent:
    """Make an event of a server message; raise Malformed.

    There is no event id: the key is the call *and* the type of message (and, of one that is kept
    and comes many times in a call, a digest), so that no message can stand in the way of another.
    """
    message_type, call_id = message["type"], name_at(message, "call", "id")
    if message_type == END_OF_CALL:
        return _ended(message, call_id, body)
    digest = f":{hashlib.sha256(body).hexdigest()[:16]}" if message_type in _KEPT else ""
    return WebhookEvent(
        source=Source.VAPI,
        key=call_event_key(call_id or "none", f"{message_type}{digest}"),
        type=message_type,
        subject=call_id or "",
        body="",
        status=EventStatus.IGNORED,
        facts=ongoing_call(message, call_id, longest_call_seconds)
        if call_id is not None and message_type == STATUS_UPDATE
        else None,
    )


def _ended(message: dict[str, Any], call_id: str | None, body: bytes) -> WebhookEvent:
    if call_id is None:
        raise Malformed("an end-of-call-report needs message.call.id")
    return WebhookEvent(
        source=Source.VAPI,
        key=call_event_key(call_id, END_OF_CALL),
        type=END_OF_CALL,
        subject=call_id,
        body=body.decode() if len(body) <= LARGEST_BODY else "",
        facts=call_from_report(message, call_id),
    )
