"""Twilio's status callbacks: how far a message has come."""

import re
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.problems import Malformed
from api.services import Services
from api.webhooks import signatures
from api.webhooks.reading import FORM, answer, read_body
from api.webhooks.receiving import WEBHOOK_RESPONSES, counted, form_like
from billing.twilio import Form, message_from_callback, single
from billing.webhook import EventStatus, Source, WebhookEvent

PATH = "/webhooks/twilio/sms-status"
router = APIRouter(tags=["webhooks"])

# A callback has about twenty; Twilio adds more from time to time.
_MOST_FIELDS = 200
# They end up in keys, workflow ids and logs.
_NAME = re.compile(r"[0-9A-Za-z_-]{1,100}")
_REQUIRED = ("AccountSid", "MessageSid", "MessageStatus")
_EXAMPLE = {
    "MessageSid": "SM0123456789abcdef0123456789abcdef",
    "AccountSid": "AC0123456789abcdef0123456789abcdef",
    "MessageStatus": "delivered",
    "From": "+15017122661",
    "To": "+447700900123",
    "ApiVersion": "2010-04-01",
}


@router.post(PATH, responses=WEBHOOK_RESPONSES, openapi_extra=form_like(_EXAMPLE, _REQUIRED))
async def receive(request: Request) -> Response:
    """Take a status callback with an `X-Twilio-Signature` by a live token of its account.

    The signature is over `PUBLIC_BASE_URL`, this path and the query, and all parameters.
    """
    services = Services.of(request)
    with counted(services.metrics, Source.TWILIO):
        body = await read_body(request, FORM)
        form = parse_form(body)
        twilio = services.twilio
        signatures.verify_twilio(
            request.headers,
            f"{twilio.public_base_url.rstrip('/')}{PATH}{_query(request)}",
            form,
            twilio.tokens.get(single(form, "AccountSid") or "", ()),
        )
        event = event_from(form, body)
    return answer(await services.intake.accept(event), event.key)


def parse_form(body: bytes) -> Form:
    """Parse a form with all of its parameters, also unknown, empty and repeated ones.

    Raises Malformed.
    """
    try:
        return parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as error:
        raise Malformed("the body is not a form in UTF-8 of a reasonable size") from error


def event_from(form: Form, body: bytes) -> WebhookEvent:
    """Read a callback; raises Malformed.

    There is no event id: the key is the message *and* its status, so that no callback can stand in
    the way of a later one. What is about no outgoing SMS is ignored.
    """
    sid, status = _name(form, "MessageSid"), _name(form, "MessageStatus")
    if sid is None or status is None:
        raise Malformed("a status callback needs a MessageSid and a MessageStatus, once each")
    key = f"{sid}:{status}"
    seen = message_from_callback(form, key)
    return WebhookEvent(
        source=Source.TWILIO,
        key=key,
        type=status,
        subject=sid,
        body=body.decode("ascii"),
        status=EventStatus.WAITING if seen else EventStatus.IGNORED,
        message=seen,
    )


def _name(form: Form, name: str) -> str | None:
    value = single(form, name)
    return value if value is not None and _NAME.fullmatch(value) else None


def _query(request: Request) -> str:
    """The query as it was sent: decoded and encoded again it might be another."""
    query: bytes = request.scope["query_string"]
    return f"?{query.decode('latin-1')}" if query else ""
