"""Twilio's status callbacks: how far a message has come."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.http.problems import Malformed
from api.services import Services
from api.webhooks.documentation import WEBHOOK_RESPONSES, form_like
from api.webhooks.exchange import FORM, answer, counted, read_body, require_one_of
from billing.inbox.webhook_event import EventStatus, Source, WebhookEvent
from billing.messages.twilio import Form, message_from_callback, single

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

    The signature is over `PUBLIC_BASE_URL`, path and query as they were sent, and all parameters.
    """
    services = Services.of(request)
    with counted(services.metrics, Source.TWILIO):
        body = await read_body(request, FORM)
        form = parse_form(body)
        twilio = services.twilio
        verify_twilio(
            request.headers,
            f"{twilio.public_base_url.rstrip('/')}{_target(request)}",
            form,
            twilio.tokens.get(single(form, "AccountSid") or "", ()),
        )
        event = event_from(form, body)
    return answer(await services.intake.accept(event), event.key)


def verify_twilio(
    headers: Mapping[str, str], url: str, form: Mapping[str, Sequence[str]], tokens: Sequence[bytes]
) -> None:
    """Check `X-Twilio-Signature`, HMAC-SHA1 of the URL and all parameters; raise Unauthorized.

    Each parameter's name and value follow the URL, sorted; a value that a name has twice is signed
    once. Twilio signs the URL with its port or without, so both are right.
    Source: Twilio's "Secure webhooks", and the RequestValidator of its Python library.
    """
    parameters = "".join(name + value for name in sorted(form) for value in sorted(set(form[name])))
    right = [
        base64.b64encode(hmac.new(token, (one + parameters).encode(), hashlib.sha1).digest())
        for token in tokens
        for one in _with_and_without_port(url)
    ]
    shown = headers.get("x-twilio-signature")
    require_one_of([shown] if shown else [], [one.decode() for one in right])


def _with_and_without_port(url: str) -> list[str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.netloc.removesuffix(f":{port}")
    return [url.replace(parts.netloc, netloc, 1) for netloc in (host, f"{host}:{port}")]


def parse_form(body: bytes) -> Form:
    """Parse a form with all of its parameters, also unknown, empty and repeated ones.

    Raise Malformed, also for a NUL: PostgreSQL stores none, and its log would show what it refuses.
    """
    try:
        form = parse_qs(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as error:
        raise Malformed("the body is not a form in UTF-8 of a reasonable size") from error
    if any("\0" in text for name, values in form.items() for text in (name, *values)):
        raise Malformed("the form has a NUL in it")
    return form


def event_from(form: Form, body: bytes) -> WebhookEvent:
    """Read a callback; raise Malformed.

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
        facts=seen,
    )


def _name(form: Form, name: str) -> str | None:
    value = single(form, name)
    return value if value is not None and _NAME.fullmatch(value) else None


def _target(request: Request) -> str:
    """The path and query as they were sent: decoded and encoded again they might be others."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")
