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
from api.webhooks.receiving import WEBHOOK_RESPONSES, counted
from billing.vapi import call_from_report
from billing.webhook import END_OF_CALL, EventStatus, Source, WebhookEvent, call_event_key

router = APIRouter(tags=["webhooks"])


@router.post("/webhooks/vapi", responses=WEBHOOK_RESPONSES)
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
