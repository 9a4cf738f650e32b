"""Is this webhook from whom it says? Checked on the raw bytes, in constant time."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from api.problems import Unauthorized

# Stripe's own tolerance; it holds on both sides, a time in the future is as wrong as an old one.
TOLERANCE_SECONDS = 300
_MILLISECONDS_FROM = 100_000_000_000
# A header is as long as its sender likes; a number is not.
_TIMESTAMP = re.compile(r"[0-9]{1,15}")


def verify_stripe(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float
) -> None:
    """Check `Stripe-Signature: t=…,v1=…[,v1=…]`, HMAC-SHA256 of `{t}.{body}`; raises Unauthorized.

    Source: Stripe's "Verify webhook signatures manually".
    """
    fields = [part.partition("=") for part in headers.get("stripe-signature", "").split(",")]
    times = [value for name, _, value in fields if name.strip() == "t"]
    signatures = [value for name, _, value in fields if name.strip() == "v1"]
    timestamp = times[0] if times else ""
    _require_recent(timestamp, now)
    _require_one_of(signatures, _signatures(timestamp, body, secrets))


def verify_vapi(
    headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float
) -> None:
    """Check whichever of Vapi's three credentials was configured there; raises Unauthorized.

    HMAC (`x-signature` over `{x-timestamp}.{body}`, the time in seconds or milliseconds), the
    `X-Vapi-Secret` header, or a bearer token. A signature, once sent, must be right.
    Source: Vapi's "Server authentication".
    """
    signature = headers.get("x-signature")
    if signature is not None:
        timestamp = headers.get("x-timestamp", "")
        _require_recent(timestamp, now)
        _require_one_of([signature.removeprefix("sha256=")], _signatures(timestamp, body, secrets))
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token if scheme.lower() == "bearer" else ""
    shown = headers.get("x-vapi-secret") or bearer
    _require_one_of([shown] if shown else [], [secret.decode() for secret in secrets])


def verify_twilio(
    headers: Mapping[str, str], url: str, form: Mapping[str, Sequence[str]], tokens: Sequence[bytes]
) -> None:
    """Check `X-Twilio-Signature`, HMAC-SHA1 of the URL and all parameters; raises Unauthorized.

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
    _require_one_of([shown] if shown else [], [one.decode() for one in right])


def _with_and_without_port(url: str) -> list[str]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.netloc.removesuffix(f":{port}")
    return [url.replace(parts.netloc, netloc, 1) for netloc in (host, f"{host}:{port}")]


def _signatures(timestamp: str, body: bytes, secrets: Iterable[bytes]) -> list[str]:
    signed = timestamp.encode() + b"." + body
    return [hmac.new(secret, signed, hashlib.sha256).hexdigest() for secret in secrets]


def _require_recent(timestamp: str, now: float) -> None:
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unauthorized("the signature's timestamp is missing or not a number")
    number = int(timestamp)
    seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
    if abs(now - seconds) > TOLERANCE_SECONDS:
        raise Unauthorized(f"the signature is more than {TOLERANCE_SECONDS} s from now")


def _require_one_of(shown: Sequence[str], right: Sequence[str]) -> None:
    """Compare all with all, whatever matches first."""
    matches = [
        hmac.compare_digest(one.encode(), other.encode()) for one in shown for other in right
    ]
    if not any(matches):
        raise Unauthorized("the signature or secret is missing or wrong")
