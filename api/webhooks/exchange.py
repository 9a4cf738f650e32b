"""What every webhook has in common: a way past the routes, a small body, a signature on its raw
bytes that is compared in constant time, and one shape of answer.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import Malformed, TooLarge, Unauthorized, UnsupportedMediaType, refused
from api.intake.intake import Accepted
from api.monitoring.metrics import Metrics
from billing.errors import BillingError
from billing.inbox.webhook_event import Source

LARGEST_BODY = 1024 * 1024
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
# Ids and types end up in keys, workflow ids and logs.
_NAME = re.compile(r"[\x21-\x7e]{1,200}")
# Stripe's own tolerance; it holds on both sides, a time in the future is as wrong as an old one.
TOLERANCE_SECONDS = 300
_MILLISECONDS_FROM = 100_000_000_000
# A header is as long as its sender likes; a number is not.
_TIMESTAMP = re.compile(r"[0-9]{1,15}")

Endpoint = Callable[[Request], Awaitable[Response]]


class BrokenOff(BillingError):
    """The body has not come to its end. Its sender does not hear of it; it is counted."""

    code = "broken_off"
    status = 400
    title = "The body was broken off"


class FastLane:
    """ASGI middleware that answers POSTs to some paths itself, at a third of the cost of a route.

    With a slash behind it a path is the same: providers keep what somebody has typed, and follow no
    redirect. The same endpoints are also routes of the application, so that OpenAPI finds them.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on to the application."""
        endpoint = self._endpoints.get(scope.get("path", "").removesuffix("/"))
        if endpoint is None or scope.get("method") != "POST":
            await self._app(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive))
        except BillingError as refusal:
            response = refused(refusal)
        await response(scope, receive, send)


async def read_body(request: Request, wanted: str = JSON, most: int = LARGEST_BODY) -> bytes:
    """Read a body of at most 1 MiB, or of `most`.

    Raise UnsupportedMediaType, TooLarge, and BrokenOff for one that ends before its end.
    """
    media_type = request.headers.get("content-type", wanted)
    if media_type.partition(";")[0].strip().lower() != wanted:
        raise UnsupportedMediaType(f"this endpoint takes {wanted}, not {media_type}")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise TooLarge(f"the body may have {most} bytes at most")
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise TooLarge(f"the body may have {most} bytes at most")
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise BrokenOff("the sender hung up, or was too slow") from error
    return b"".join(chunks)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raise Malformed."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise Malformed("the body is not a JSON object")
    return parsed


def name_at(container: Any, *path: str) -> str | None:
    """Read an id or a type at a path; None when it is not there or not a usable name."""
    for step in path:
        container = container.get(step) if isinstance(container, dict) else None
    if isinstance(container, str) and _NAME.fullmatch(container):
        return container
    return None


def hex_signatures(timestamp: str, body: bytes, secrets: Iterable[bytes]) -> list[str]:
    """Return what Stripe sends with a body: HMAC-SHA256 of `{timestamp}.{body}`, in hex."""
    signed = timestamp.encode() + b"." + body
    return [hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in secrets]


def require_recent(timestamp: str, now: float) -> None:
    """Raise Unauthorized unless a signature's time, in (milli)seconds, is near `now` (seconds)."""
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unauthorized("the signature's timestamp is missing or not a number")
    if abs(now - _in_seconds(int(timestamp))) > TOLERANCE_SECONDS:
        raise Unauthorized(f"the signature is more than {TOLERANCE_SECONDS} s from now")


def require_near(sent: object, now: float, most_seconds: int) -> None:
    """Raise Unauthorized if a message's own time, in (milli)seconds, is far from `now` (seconds).

    Whoever has seen a message could send it again for ever. One that has no time passes.
    """
    if isinstance(sent, int | float) and abs(now - _in_seconds(sent)) > most_seconds:
        raise Unauthorized(f"by its timestamp the message is more than {most_seconds} s from now")


def _in_seconds(time: float) -> float:
    return time / 1000 if time >= _MILLISECONDS_FROM else time


def require_one_of(shown: Sequence[str], right: Sequence[str]) -> None:
    """Compare all with all in constant time, whatever matches first; raise Unauthorized."""
    matches = [
        hmac.compare_digest(one.encode(), other.encode()) for one in shown for other in right
    ]
    if not any(matches):
        raise Unauthorized("the signature or secret is missing or wrong")


def answer(accepted: Accepted, key: str) -> Response:
    """Tell the sender, honestly, what became of its event."""
    return json_answer({"status": accepted, "event": key})


def json_answer(content: dict[str, Any]) -> Response:
    """Return an answer with a small JSON object."""
    return Response(orjson.dumps(content), media_type="application/json")


@contextmanager
def counted(metrics: Metrics, source: Source) -> Iterator[None]:
    """Count a webhook that is turned away, under the code of the refusal."""
    try:
        yield
    except BillingError as refusal:
        metrics.webhooks.labels(source, refusal.code).inc()
        raise
