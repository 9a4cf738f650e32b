"""Build messages and signed callbacks as Twilio does, for the stand-in, the demo and tests.

Shapes follow Twilio's Messages resource (2010-04-01), "Track outbound message status" and "Secure
webhooks".
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

API = "/2010-04-01"
FORM = "application/x-www-form-urlencoded"
# The account of the offline world.
ACCOUNT_SID = "AC" + "5" * 32
STATUSES = (
    "accepted", "scheduled", "queued", "sending", "sent", "delivered", "read", "undelivered",
    "failed", "canceled",
)  # fmt: skip
# The statuses of messages that Twilio has tried to deliver, and therefore charges for.
_ATTEMPTED = ("sent", "delivered", "read", "undelivered")
_PRICE_PER_SEGMENT = 0.0079
_MESSAGES = {30003: "Unreachable destination handset", 30008: "Unknown error"}


def message_object(
    sid: str,
    account_sid: str,
    *,
    to: str,
    created_at: datetime,
    from_: str | None = None,
    messaging_service_sid: str | None = None,
    segments: int = 1,
    status: str = "queued",
    error_code: int | None = None,
    media: int = 0,
) -> dict[str, Any]:
    """Build a message as `GET Messages/{sid}.json` shows it; the addresses name its channel.

    Before it sends, a Messaging Service has not chosen a sender or counted segments.
    """
    message = {
        "account_sid": account_sid,
        "api_version": "2010-04-01",
        "body": "Your table is booked.",
        "date_created": rfc2822(created_at),
        "direction": "outbound-api",
        "from": from_,
        "messaging_service_sid": messaging_service_sid,
        "num_media": str(media),
        "price_unit": "USD",
        "sid": sid,
        "subresource_uris": {"media": f"{API}/Accounts/{account_sid}/Messages/{sid}/Media.json"},
        "to": to,
        "uri": f"{API}/Accounts/{account_sid}/Messages/{sid}.json",
    }
    return message | moved(status, segments, created_at, error_code)


def moved(
    status: str, segments: int, now: datetime, error_code: int | None = None
) -> dict[str, Any]:
    """Build the fields that change with a message's status."""
    attempted = status in _ATTEMPTED
    known = attempted or status in ("sending", "queued")
    return {
        "date_sent": rfc2822(now) if attempted or status == "failed" else None,
        "date_updated": rfc2822(now),
        "error_code": error_code,
        "error_message": None if error_code is None else _MESSAGES.get(error_code, "Unknown"),
        "num_segments": str(segments if known else 0),
        "price": f"-{segments * _PRICE_PER_SEGMENT:.5f}" if attempted else None,
        "status": status,
    }


def status_callback(message: dict[str, Any]) -> list[tuple[str, str]]:
    """Build the parameters of a status callback, without those that have no value."""
    named = {
        "AccountSid": message["account_sid"],
        "ApiVersion": message["api_version"],
        "ErrorCode": message["error_code"],
        "ErrorMessage": message["error_message"],
        "From": message["from"],
        "MessageSid": message["sid"],
        "MessageStatus": message["status"],
        "MessagingServiceSid": message["messaging_service_sid"],
        "SmsSid": message["sid"],
        "SmsStatus": message["status"],
        "To": message["to"],
    }
    named |= _of_channel(message)
    return [(name, str(value)) for name, value in named.items() if value is not None]


def _of_channel(message: dict[str, Any]) -> dict[str, str]:
    """Build what a callback says of a channel; nothing about SMS and MMS.

    Twilio masks the end of the number in `ChannelToAddress`.
    """
    addresses = [one for one in (message["from"], message["to"]) if one and ":" in one]
    if not addresses:
        return {}
    return {
        "ChannelInstallSid": "XE" + "5" * 32,
        "ChannelPrefix": addresses[0].partition(":")[0],
        "ChannelToAddress": f"{message['to'].rpartition(':')[2][:-4]}XXXX",
    }


def signed_headers(url: str, parameters: Sequence[tuple[str, str]], token: str) -> dict[str, str]:
    """Return the headers of a callback, with Twilio's signature."""
    text = url + "".join(name + value for name, value in sorted(set(parameters)))
    digest = hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()
    return {"Content-Type": FORM, "X-Twilio-Signature": base64.b64encode(digest).decode()}


def body_of(parameters: Sequence[tuple[str, str]]) -> bytes:
    """Return parameters encoded as a form."""
    return urlencode(parameters).encode()


def rfc2822(moment: datetime) -> str:
    """Return a moment as Twilio writes it: RFC 2822, UTC, seconds."""
    return format_datetime(moment.astimezone(UTC))
