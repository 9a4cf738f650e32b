"""Read Twilio's forms and JSON: what a status callback and a message object say.

Only what billing needs is taken: no text, and only the first digits of the recipient's number.
Source: Twilio's "Track outbound message status", its Messages resource (2010-04-01), and "Send and
receive RCS messages" about what goes by SMS where RCS does not arrive.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from billing.messages.message import MessageFacts, MessageStatus, SeenMessage
from billing.tariffs.channel import Channel, channel_named_in, channel_of, without_channel
from billing.tariffs.sms_tariff import DESTINATION_DIGITS

_SID = re.compile(r"(?:SM|MM)[0-9a-f]{32}")
_ACCOUNT_SID = re.compile(r"AC[0-9a-f]{32}")
# E.164.
_NUMBER = re.compile(r"\+?([0-9]{3,15})")
_LONGEST_TEXT = 200
_MOST_DIGITS = 6
# These are not documented as statuses of callbacks. Where they show, delivery was attempted.
_ATTEMPTED = ("partially_delivered", "delivery_unknown")

Form = Mapping[str, Sequence[str]]


def status_of(written: object) -> MessageStatus | None:
    """Read a status; None for one of an incoming message, and for one that is not known."""
    if written in _ATTEMPTED:
        return MessageStatus.SENT
    return next((status for status in MessageStatus if status == written), None)


def message_from_callback(form: Form, key: str) -> SeenMessage | None:
    """Read a status callback, the event `key`; None when it is about no outgoing message.

    A field that comes more than once counts as missing: nothing says which value is meant.
    """
    sid, account_sid = single(form, "MessageSid"), single(form, "AccountSid")
    status = status_of(single(form, "MessageStatus"))
    if not (sid and account_sid and _SID.fullmatch(sid) and _ACCOUNT_SID.fullmatch(account_sid)):
        return None
    if status is None:
        return None
    error_code = _number(single(form, "ErrorCode"))
    return SeenMessage(sid, account_sid, status, error_code, key, _named_by(form))


def message_from_api(message: Mapping[str, Any]) -> tuple[SeenMessage | None, MessageFacts]:
    """Read a message object: its status, and what it is priced by.

    `num_segments` is a text, and `0` while a Messaging Service has not chosen a sender yet.
    `date_sent` is missing until it is sent. All times are RFC 2822, in UTC.
    """
    channel = _channel(message)
    status, error_code = status_of(message.get("status")), _number(message.get("error_code"))
    seen = None
    if status is not None:
        seen = SeenMessage(message["sid"], message["account_sid"], status, error_code)
    return seen, MessageFacts(
        sent_at=_moment(message.get("date_sent")) or _moment(message["date_created"]),
        segments=_segments(message, channel, status),
        destination=None if channel is Channel.OTHER else _destination(message.get("to")),
        sender=_text(message.get("from")),
        service_sid=_text(message.get("messaging_service_sid")),
        channel=channel,
    )


def single(form: Form, name: str) -> str | None:
    """Read the value of a field; None when it is missing, empty, or comes more than once."""
    values = form.get(name, ())
    return values[0] if len(values) == 1 and values[0] else None


def _named_by(form: Form) -> Channel | None:
    """Return the channel that a callback names; None for SMS and MMS, which name none."""
    prefix = single(form, "ChannelPrefix")
    named = Channel(prefix.lower()) if prefix else None
    if named is None or named is Channel.SMS:
        return channel_named_in(single(form, "From"), single(form, "To"))
    return named


def _channel(message: Mapping[str, Any]) -> Channel | None:
    """Return the channel of a message object; None while it does not say who sends it.

    An address without a channel's name then says that it is SMS or MMS: so goes what could not be
    delivered over RCS.
    """
    sender, to = _text(message.get("from")), _text(message.get("to"))
    if sender is None and channel_named_in(to) is None:
        return None
    return channel_of(message["sid"], sender, to, media=_number(message.get("num_media")) or 0)


def _segments(
    message: Mapping[str, Any], channel: Channel | None, status: MessageStatus | None
) -> int | None:
    """Return how many segments are charged; None while they are not known.

    Only SMS are cut into segments: another message is one if Twilio counts none. It is known what
    it goes over when Twilio has taken it, and not before.
    """
    counted = _number(message.get("num_segments")) or None
    if channel is None or channel is Channel.SMS:
        return counted
    return counted or 1 if status is not None and status.is_taken else None


def _destination(to: object) -> str | None:
    number = _NUMBER.fullmatch(without_channel(to)) if isinstance(to, str) else None
    return number[1][:DESTINATION_DIGITS] if number else None


def _text(value: object) -> str | None:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and "\0" not in value:
        return value
    return None


def _number(value: object) -> int | None:
    written = str(value) if isinstance(value, int | str) else ""
    is_short = len(written) <= _MOST_DIGITS
    return int(written) if is_short and written.isascii() and written.isdigit() else None


def _moment(written: str | None) -> datetime | None:
    if written is None:
        return None
    moment = parsedate_to_datetime(written)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
