"""Vapi's server messages. Only `end-of-call-report` moves money; the rest is recorded."""

import hashlib
import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.problems import Malformed
from api.services import Services
from api.webhooks import signatures
from api.webhooks.reading import answer, name_at, parse_object, read_body
from api.webhooks.receiving import WEBHOOK_RESPONSES, body_like, counted
from billing.vapi import call_from_report
from billing.webhook import END_OF_CALL, EventStatus, Source, WebhookEvent, call_event_key

router = APIRouter(tags=["webhooks"])

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


@router.post("/webhooks/vapi", responses=WEBHOOK_RESPONSES, openapi_extra=body_like(_EXAMPLE))
async def receive(request: Request) -> Response:
    """Take a server message: bearer token, `X-Vapi-Secret` or HMAC, as configured at Vapi."""
    services = Services.of(request)
    with counted(services.metrics, Source.VAPI):
        body = await read_body(request)
        signatures.verify_vapi(request.headers, body, services.vapi_secrets, time.time())
        event = event_from(body)
    return answer(await services.intake.accept(event), event.key)


def event_from(body: bytes) -> WebhookEvent:
    """Read a server message; raises Malformed.

    There is no event id: the key is the call *and* the type of message (and, where one type comes
    many times in a call, a digest), so that no message can stand in the way of another.
    """
    message = parse_object(body).get("message")
    message_type = name_at(message, "type")
    if not isinstance(message, dict) or message_type is None:
        raise Malformed("there is no message.type")
    call_id = name_at(message, "call", "id")
    if message_type == END_OF_CALL:
        return _ended(message, call_id, body)
    digest = hashlib.sha256(body).hexdigest()[:16]
    return WebhookEvent(
        source=Source.VAPI,
        key=call_event_key(call_id or "none", f"{message_type}:{digest}"),
        type=message_type,
        subject=call_id or "",
        body=body.decode(),
        status=EventStatus.IGNORED,
    )


def _ended(message: dict[str, Any], call_id: str | None, body: bytes) -> WebhookEvent:
    if call_id is None:
        raise Malformed("an end-of-call-report needs message.call.id")
    return WebhookEvent(
        source=Source.VAPI,
        key=call_event_key(call_id, END_OF_CALL),
        type=END_OF_CALL,
        subject=call_id,
        body=body.decode(),
        call=call_from_report(message, call_id),
    )
