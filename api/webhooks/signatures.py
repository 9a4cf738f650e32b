"""Is this webhook from whom it says? Checked on the raw bytes, in constant time."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence

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
