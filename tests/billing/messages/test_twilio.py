"""Twilio's forms and JSON: what is read of them, and that what is personal is left behind."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from twilio.rest.api.v2010.account.message import MessageInstance

from billing.messages.message import MessageStatus, SeenMessage
from billing.messages.twilio import message_from_api, message_from_callback, status_of
from billing.tariffs.channel import Channel
from devstack.providers.twilio.messages import message_object

SID, ACCOUNT = "SM" + "a" * 32, "AC" + "b" * 32
FORM = {
    "MessageSid": [SID],
    "AccountSid": [ACCOUNT],
    "MessageStatus": ["undelivered"],
    "ErrorCode": ["30003"],
    "To": ["+447700900123"],
    "From": ["+15017122661"],
}


def test_a_callback_is_read_without_its_numbers() -> None:
    seen = message_from_callback(FORM, "the key")
    assert seen == SeenMessage(SID, ACCOUNT, MessageStatus.UNDELIVERED, 30003, "the key")
    assert "7700" not in str(asdict(seen))


@pytest.mark.parametrize(
    "changed",
    [
        {"MessageSid": ["SMx"]},
        {"MessageSid": ["CA" + "a" * 32]},
        {"MessageSid": [SID, SID]},
        {"AccountSid": []},
        {"AccountSid": ["AC1"]},
        {"MessageStatus": ["received"]},
        {"MessageStatus": ["never-heard-of"]},
    ],
)
def test_what_is_about_no_outgoing_message_is_none(changed: dict[str, list[str]]) -> None:
    assert message_from_callback({**FORM, **changed}, "the key") is None


WHATSAPP = {"From": ["whatsapp:+15017122661"], "To": ["whatsapp:+447700900123"]}


@pytest.mark.parametrize(
    ("changed", "channel"),
    [
        ({}, None),
        ({"MessageSid": ["MM" + "a" * 32]}, None),
        ({**WHATSAPP, "ChannelPrefix": ["whatsapp"]}, Channel.WHATSAPP),
        ({**WHATSAPP, "MessageSid": ["MM" + "a" * 32]}, Channel.WHATSAPP),
        ({"From": ["rcs:acme_agent"]}, Channel.RCS),
        ({"ChannelPrefix": ["rcs"]}, Channel.RCS),
        ({"ChannelPrefix": ["messenger"]}, Channel.OTHER),
        ({"To": ["messenger:1234567890"]}, Channel.OTHER),
        ({**WHATSAPP, "ChannelPrefix": ["sms"]}, Channel.WHATSAPP),
        ({"From": [], "To": []}, None),
    ],
)
def test_a_callback_names_its_channel_if_that_is_neither_sms_nor_mms(
    changed: dict[str, list[str]], channel: Channel | None
) -> None:
    seen = message_from_callback({**FORM, **changed}, "the key")
    assert seen is not None
    assert seen.channel is channel


@pytest.mark.parametrize("code", ["", "x", "-1", "9" * 5000, "\u0663"])
def test_an_error_code_that_is_no_number_is_left_out(code: str) -> None:
    seen = message_from_callback({**FORM, "ErrorCode": [code]}, "the key")
    assert seen is not None
    assert seen.error_code is None


def test_every_status_of_twilios_own_library_is_known_or_of_incoming_messages() -> None:
    theirs = {
        value for name, value in vars(MessageInstance.Status).items() if not name.startswith("_")
    }
    assert {status.value for status in MessageStatus} <= theirs
    assert {value for value in theirs if status_of(value) is None} == {"receiving", "received"}
    assert status_of("partially_delivered") is MessageStatus.SENT


def api_message(**changed: Any) -> dict[str, Any]:
    made = message_object(
        SID,
        ACCOUNT,
        to="+447700900123",
        created_at=datetime(2026, 11, 2, 12, tzinfo=UTC),
        from_="+15017122661",
        segments=3,
        status="sent",
    )
    return {**made, **changed}


def test_a_message_object_gives_its_price_facts_and_the_first_digits_only() -> None:
    seen, facts = message_from_api(api_message())
    assert seen == SeenMessage(SID, ACCOUNT, MessageStatus.SENT)
    assert facts.segments == 3
    assert facts.sent_at == datetime(2026, 11, 2, 12, tzinfo=UTC)
    assert (facts.sender, facts.service_sid) == ("+15017122661", None)
    assert facts.destination == "447700"


@pytest.mark.parametrize(
    ("field", "written", "read"),
    [
        ("num_segments", "0", ("segments", None)),
        ("num_segments", None, ("segments", None)),
        ("to", "whatsapp:+447700900123", ("destination", "447700")),
        ("to", "messenger:1234567890", ("destination", None)),
        ("from", None, ("channel", None)),
        ("to", "+1876", ("destination", "1876")),
        ("from", None, ("sender", None)),
        ("from", "ACME", ("sender", "ACME")),
    ],
)
def test_what_twilio_does_not_say_yet_is_none(
    field: str, written: str | None, read: tuple[str, object]
) -> None:
    _, facts = message_from_api(api_message(**{field: written}))
    assert getattr(facts, read[0]) == read[1]


def test_a_message_that_was_not_sent_has_the_time_of_its_creation() -> None:
    _, facts = message_from_api(api_message(date_sent=None))
    assert facts.sent_at == datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "channel", "segments"),
    [
        ({}, Channel.SMS, 3),
        ({"num_media": "1"}, Channel.MMS, 3),
        ({"sid": "MM" + "a" * 32, "num_segments": "0"}, Channel.MMS, 1),
        ({"from": "whatsapp:+15017122661", "num_segments": "0"}, Channel.WHATSAPP, 1),
        ({"from": "rcs:acme_agent", "num_segments": "1"}, Channel.RCS, 1),
        # what could not be delivered over RCS may yet go as an SMS
        ({"from": "rcs:acme_agent", "status": "queued"}, Channel.RCS, None),
        ({"to": "messenger:1234567890", "num_segments": "0"}, Channel.OTHER, 1),
        # a Messaging Service has not chosen yet
        ({"from": None, "status": "accepted", "num_segments": "0"}, None, None),
    ],
)
def test_a_message_object_says_its_channel_and_how_many_segments_are_charged(
    changed: dict[str, Any], channel: Channel | None, segments: int | None
) -> None:
    _, facts = message_from_api(api_message(**changed))
    assert (facts.channel, facts.segments) == (channel, segments)
