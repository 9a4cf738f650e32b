"""Vapi's JSON: the final report is believed, an early snapshot is not, and nothing else is kept."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.calls.call import EndedCall, duration_seconds
from billing.calls.call_in_progress import OngoingCall
from billing.calls.vapi import (
    assistant_of,
    call_from_api,
    call_from_report,
    ongoing_call,
    phone_number_of,
)
from devstack.providers.vapi.messages import call_object, end_of_call_report
from tests.support.factories import NOON

STARTED = NOON - timedelta(seconds=90)


def report(**changes: Any) -> dict[str, Any]:
    """A real report's message; a change to None leaves the field out."""
    message: dict[str, Any] = end_of_call_report(
        "abc", "assistant", STARTED, NOON, phone_number_id="number"
    )["message"]
    changed = message | changes
    return {name: value for name, value in changed.items() if value is not None}


def test_a_report_says_who_when_and_why() -> None:
    assert call_from_report(report(), "abc") == EndedCall(
        call_id="abc",
        assistant_id="assistant",
        phone_number_id="number",
        started_at=STARTED,
        ended_at=NOON,
        reported_seconds=Decimal("90.0"),
        ended_reason="customer-ended-call",
        provider_cost_usd=Decimal("0.165"),
    )


def test_the_times_of_the_nested_call_an_early_snapshot_are_not_believed() -> None:
    early = {"id": "abc", "startedAt": NOON.isoformat(), "endedAt": NOON.isoformat()}
    call = call_from_report(report(call=early), "abc")
    assert (call.started_at, call.ended_at) == (STARTED, NOON)
    without = call_from_report(report(call=early, startedAt=None, endedAt=None), "abc")
    assert (without.started_at, without.ended_at) == (None, None)


def test_the_account_at_vapi_is_not_taken_for_an_organisation_or_anything_else() -> None:
    call = call_from_report(report(call={"id": "abc", "orgId": "vapi-account"}), "abc")
    assert "vapi-account" not in str(call)


@pytest.mark.parametrize("missing", ["startedAt", "endedAt"])
def test_a_missing_time_leaves_the_duration_unknown(missing: str) -> None:
    assert duration_seconds(call_from_report(report(**{missing: None}), "abc")) is None


@pytest.mark.parametrize(
    "unreadable", ["yesterday", "", 1761998400, True, [], {}, "2026-13-01T00:00:00Z", "9999"]
)
def test_an_unreadable_time_is_an_unknown_one(unreadable: object) -> None:
    assert call_from_report(report(startedAt=unreadable), "abc").started_at is None


@pytest.mark.parametrize("absurd", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31"])
def test_a_time_of_another_age_is_an_unknown_one(absurd: str) -> None:
    assert call_from_report(report(endedAt=absurd), "abc").ended_at is None


@pytest.mark.parametrize("date", ["2026-11-02", "20261102", "2026-W45-1"])
def test_a_date_without_a_time_is_no_time(date: str) -> None:
    assert call_from_report(report(endedAt=date), "abc").ended_at is None


def test_when_a_record_was_changed_is_not_when_its_call_ended() -> None:
    call = call_from_api(
        {
            "id": "abc",
            "status": "ended",
            "startedAt": STARTED.isoformat(),
            "updatedAt": (NOON + timedelta(hours=20)).isoformat(),
        }
    )
    assert call.ended_at is None
    assert duration_seconds(call) is None


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-02T12:00:00Z",
        "2026-11-02T12:00:00",
        "2026-11-02T13:00:00+01:00",
        "2026-11-02T13:02:03+01:02:03",
    ],
)
def test_a_time_is_read_as_utc_unless_it_says_otherwise(written: str) -> None:
    read = call_from_report(report(endedAt=written), "abc").ended_at
    assert read == datetime(2026, 11, 2, 12, tzinfo=UTC)


def test_a_reported_duration_that_contradicts_the_times_makes_the_duration_unknown() -> None:
    call = call_from_report(report(durationSeconds=5), "abc")
    assert call.reported_seconds == 5
    assert duration_seconds(call) is None


@pytest.mark.parametrize(
    "unreadable", ["long", None, [], {}, "NaN", "Infinity", float("inf"), "1e9999999", True]
)
def test_a_reported_duration_that_is_no_number_is_as_good_as_none(unreadable: object) -> None:
    call = call_from_report(report(durationSeconds=unreadable), "abc")
    assert call.reported_seconds is None
    assert duration_seconds(call) == 90


def test_a_reported_duration_keeps_its_exact_decimals() -> None:
    call = call_from_report(report(durationSeconds=90.1), "abc")
    assert call.reported_seconds == Decimal("90.1")


def test_the_assistant_is_found_beside_the_call_when_the_call_does_not_name_it() -> None:
    message = report(
        call={"id": "abc"}, assistant={"id": "beside"}, phoneNumber={"id": "its number"}
    )
    call = call_from_report(message, "abc")
    assert (call.assistant_id, call.phone_number_id) == ("beside", "its number")


def test_the_assistant_that_the_call_names_goes_first() -> None:
    assert call_from_report(report(assistant={"id": "beside"}), "abc").assistant_id == "assistant"


@pytest.mark.parametrize("nonsense", ["", 5, [], {"id": 5}, {"id": ""}, {"id": "a\0b"}])
def test_an_assistant_that_is_no_id_is_none(nonsense: object) -> None:
    call = call_from_report(report(call={"id": "abc"}, assistant=nonsense), "abc")
    assert call.assistant_id is None


def test_a_report_without_a_call_is_still_read() -> None:
    assert call_from_report(report(call=None), "abc").ended_at == NOON


@pytest.mark.parametrize(
    ("cost", "read"), [(0.1075, "0.1075"), (0, "0"), (-1, None), ("free", None), (True, None)]
)
def test_what_vapi_charges_the_platform_is_read_to_the_digit(
    cost: object, read: str | None
) -> None:
    shown = call_object("abc", None, created_at=NOON, started_at=NOON, ended_at=NOON)
    expected = read and Decimal(read)
    assert call_from_report(report(cost=cost), "abc").provider_cost_usd == expected
    assert call_from_api(shown | {"cost": cost}).provider_cost_usd == expected


def test_nothing_personal_is_kept() -> None:
    kept = str(call_from_report(report(transcript="the secret"), "abc"))
    assert "+447700900123" not in kept
    assert "secret" not in kept


def test_a_call_of_the_api_is_final() -> None:
    call = call_from_api(
        call_object("abc", "assistant", created_at=STARTED, started_at=STARTED, ended_at=NOON)
    )
    assert call.provider_ended
    assert call.assistant_id == "assistant"
    assert duration_seconds(call) == 90


def test_a_call_that_never_connected_has_an_end_and_took_no_time() -> None:
    never = {"id": "abc", "status": "ended", "createdAt": "2026-11-02T11:00:00Z"}
    updated = never | {"updatedAt": "2026-11-02T12:00:00Z"}
    assert call_from_api(updated).ended_at == NOON
    assert call_from_api(never).ended_at == NOON - timedelta(hours=1)
    assert duration_seconds(call_from_api(never)) == 0


@pytest.mark.parametrize(
    ("status", "due_in_seconds"),
    [("in-progress", 600 + 180), ("forwarding", 600 + 180), ("ended", 60)],
)
def test_a_call_that_was_connected_is_known_and_its_report_expected(
    status: str, due_in_seconds: float
) -> None:
    message = {"status": status, "call": {"assistantId": "a", "phoneNumberId": "n"}}
    assert ongoing_call(message, "c", 600) == OngoingCall("c", "a", "n", due_in_seconds)


@pytest.mark.parametrize(
    "status", ["scheduled", "queued", "ringing", "never-heard-of", None, [], 7]
)
def test_no_report_is_expected_of_a_call_that_was_not_connected(status: object) -> None:
    assert ongoing_call({"status": status, "call": {"assistantId": "a"}}, "c", 600) is None


@pytest.mark.parametrize("message", [{}, {"call": None}, {"call": "c", "phoneNumber": [1]}])
def test_a_message_may_name_neither_an_assistant_nor_a_number(message: dict[str, object]) -> None:
    assert (assistant_of(message), phone_number_of(message)) == (None, None)
