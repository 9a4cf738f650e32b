"""What a call was started with is read wherever Vapi says it, and never where its caller does."""

from typing import Any

import pytest

from billing.calls.call import EndedCall
from billing.calls.fact_source import FactSource
from billing.calls.facts import merge, names_what_answered
from billing.calls.vapi import call_from_api, call_from_report, ongoing_call
from devstack.providers.vapi.messages import call_object, report_of
from tests.support.factories import NOON
from tests.support.vapi_types import differences

ACTIVE = {"assistantActivations": [{"assistantName": "Made for it"},
                                   {"assistantName": "Desk", "assistantId": "desk"},
                                   {"assistantName": "Sales", "assistantId": "sales"}]}  # fmt: skip
SQUAD = {"members": [{"assistant": {"name": "Made for it"}}, {"assistantId": "member"}]}


def as_shown(**more: Any) -> dict[str, Any]:
    """A call as the API shows it, that names no assistant."""
    shown = call_object("abc", None, created_at=NOON, started_at=NOON, ended_at=NOON) | more
    assert differences("Call", shown) == []
    return shown


def as_reported(shown: dict[str, Any], **beside: Any) -> EndedCall:
    message = report_of(shown, NOON)["message"] | beside
    assert differences("ServerMessageEndOfCallReport", message) == []
    return call_from_report(message, "abc")


@pytest.mark.parametrize(
    ("more", "assistant"),
    [({"artifact": ACTIVE}, "desk"), ({"squad": SQUAD}, "member"),
     ({"artifact": ACTIVE, "squad": SQUAD}, "desk")],
)  # fmt: skip
def test_an_assistant_that_took_part_stands_for_one_that_is_not_named(
    more: dict[str, Any], assistant: str
) -> None:
    shown = as_shown(**more)
    for call in (as_reported(shown), call_from_api(shown)):
        assert call.assistant_id == assistant
        assert call.source_of("assistant_id") is FactSource.NOTICE
        assert not names_what_answered(call)


def test_the_assistant_beside_the_call_counts_last() -> None:
    beside = {"assistant": {"id": "beside", "name": "Sales"}}
    assert as_reported(as_shown(), **beside).assistant_id == "beside"
    assert as_reported(as_shown(squad=SQUAD), **beside).assistant_id == "member"
    assert as_reported(as_shown(assistantId="named"), **beside).assistant_id == "named"


@pytest.mark.parametrize("name", ["assistantId", "squadId", "workflowId"])
def test_whoever_names_what_it_was_started_with_is_believed_before_who_took_part(name: str) -> None:
    named = as_shown(**{name: "named"})
    assert names_what_answered(as_reported(named))
    better = merge(as_reported(as_shown(artifact=ACTIVE)), call_from_api(named))
    assert names_what_answered(better)
    assert (better.assistant_id == "named") is (name == "assistantId")


def test_what_the_report_names_is_not_overwritten_by_who_took_part_according_to_the_api() -> None:
    reported = as_reported(as_shown(assistantId="named"))
    assert merge(reported, call_from_api(as_shown(artifact=ACTIVE))).assistant_id == "named"


def test_a_status_update_names_who_took_part_as_well() -> None:
    message = {"type": "status-update", "status": "in-progress", "call": as_shown(squad=SQUAD)}
    assert differences("ServerMessageStatusUpdate", message) == []
    noted = ongoing_call(message, "abc", 600)
    assert noted is not None
    assert noted.assistant_id == "member"


def test_metadata_names_nothing_for_whoever_has_a_public_key_writes_it() -> None:
    written = {"assistantId": "theirs", "squadId": "theirs", "workflowId": "theirs",
               "phoneNumberId": "theirs", "orgId": "theirs", "org_id": "theirs"}  # fmt: skip
    said = {"metadata": written, "variableValues": written}
    shown = as_shown(assistant={"name": "Made for it", "metadata": written},
                     assistantOverrides=said, squadOverrides=said)  # fmt: skip
    shown |= {"metadata": written}
    message = report_of(shown, NOON)["message"] | {"metadata": written}
    message["call"] |= {"metadata": written, "assistantOverrides": said}
    message["artifact"] |= {"variableValues": written}
    for call in (call_from_report(message, "abc"), call_from_api(shown)):
        assert "theirs" not in str(call)


@pytest.mark.parametrize("listed", ["desk", ["desk", None, {}, {"assistantId": 7}]])
def test_what_is_no_list_of_assistants_names_none(listed: object) -> None:
    for nonsense in (listed, {"assistantActivations": listed, "members": listed}):
        shown = as_shown() | {"artifact": nonsense, "squad": nonsense}
        assert call_from_api(shown).assistant_id is None
