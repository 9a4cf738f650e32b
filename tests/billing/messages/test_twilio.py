"""Twilio's forms and JSON: what is read of them, and that what is personal is left behind."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pytest
from twilio.rest.api.v2010.account.message import MessageInstance

from billing.messages.message import MessageStatus, SeenMessage
from billing.messages.twilio import message_from_api, message_from_callback, status_of
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
        {"To": ["whatsapp:+447700900123"]},
    ],
)
def test_what_is_about_no_outgoing_message_is_none(changed: dict[str, list[str]]) -> None:
    assert message_from_callback({**FORM, **changed}, "the key") is None


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
        ("to", "whatsapp:+447700900123", ("destination", None)),
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
