"""The Vapi stand-in: its list with its quirks, and messages that come once, twice or never."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from devstack.providers.vapi.messages import VAPI_ACCOUNT_ID, auth_headers, end_of_call_report
from tests.support.os_processes import eventually
from tests.support.stand_in_process import VAPI_SECRET, Receiver, StandIns, receiving, running
from tests.support.vapi_types import differences

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INLINE = {"name": "Made for this call", "firstMessage": "Hello."}
# What calls can have been started with, and what may be told of them.
KINDS: dict[str, dict[str, Any]] = {
    "assistant": {"assistantId": "asst_1"},
    "squad": {"squadId": "squad_1", "assistantActivations": [{"assistantId": "asst_1"}, {}]},
    "inline squad": {"squad": {"members": [{"assistantId": "asst_1"}, {"assistant": INLINE}]}},
    "inline assistant": {"assistant": INLINE, "type": "webCall"},
    "workflow": {"workflowId": "flow_1", "phoneNumberId": "number_1"},
}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIns]:
    async with running(tmp_path_factory.mktemp("vapi") / "state.db") as stand_ins:
        yield stand_ins


@pytest.fixture
async def stand_ins(world: StandIns) -> AsyncIterator[StandIns]:
    yield world
    await world.reset()
    await world.vapi.delete("/_control/calls")


@pytest.fixture
async def receiver(stand_ins: StandIns) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        await stand_ins.control("vapi", "deliveries", {"url": receiver.url})
        yield receiver


async def register(stand_ins: StandIns, **call: Any) -> str:
    """Register a call that was answered at noon."""
    body = {"assistantId": "asst_1", "startedAt": NOON.isoformat(), **call}
    registered = await stand_ins.control("vapi", "calls", body)
    call_id: str = registered["ids"][0]
    return call_id


async def calls(stand_ins: StandIns, **query: Any) -> list[dict[str, Any]]:
    answer = await stand_ins.vapi.get("/call", params=query)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()
    return listed


# The list.


async def test_calls_are_a_plain_array_newest_first_without_a_duration(
    stand_ins: StandIns,
) -> None:
    for minute in (3, 1, 2):
        await register(
            stand_ins,
            id=f"call_{minute}",
            createdAt=(NOON + timedelta(minutes=minute)).isoformat(),
            durationSeconds=90,
        )
    listed = await calls(stand_ins)
    assert [call["id"] for call in listed] == ["call_3", "call_2", "call_1"]
    assert listed[0]["orgId"] == VAPI_ACCOUNT_ID
    assert not [name for name in listed[0] if "duration" in name.lower()]
    assert listed[0]["endedAt"] == "2026-03-01T12:01:30.000Z"


async def test_the_limit_is_100_unless_asked_and_at_most_1000(stand_ins: StandIns) -> None:
    bulk = {"count": 1500, "assistant_ids": ["asst_1", "asst_2"], "seed": 7}
    assert (await stand_ins.control("vapi", "calls", bulk))["registered"] == 1500
    assert len(await calls(stand_ins)) == 100
    assert len(await calls(stand_ins, limit=1000)) == 1000
    refused = await stand_ins.vapi.get("/call", params={"limit": 1001})
    assert refused.status_code == 400
    only = await calls(stand_ins, limit=1000, assistantId="asst_2")
    assert {call["assistantId"] for call in only} == {"asst_2"}


async def test_walking_down_by_created_at_sees_every_call(stand_ins: StandIns) -> None:
    bulk = {"count": 250, "assistant_ids": ["asst_1"], "seed": 1, "never_connected": 0.2}
    ids = set((await stand_ins.control("vapi", "calls", bulk))["ids"])
    seen: dict[str, dict[str, Any]] = {}
    page = await calls(stand_ins)
    while len(page) == 100:
        seen |= {call["id"]: call for call in page}
        page = await calls(stand_ins, createdAtLe=page[-1]["createdAt"])
    seen |= {call["id"]: call for call in page}
    assert seen.keys() == ids
    assert 20 <= sum("startedAt" not in call for call in seen.values()) <= 80


async def test_the_same_seed_makes_the_same_calls(stand_ins: StandIns) -> None:
    bulk = {"count": 3, "assistant_ids": ["asst_1"], "seed": 5, "to": NOON.isoformat()}
    first = await stand_ins.control("vapi", "calls", bulk)
    assert await stand_ins.control("vapi", "calls", bulk) == first
    assert len(await calls(stand_ins)) == 3


@pytest.mark.parametrize(
    ("name", "included"), [("Gt", False), ("Ge", True), ("Lt", False), ("Le", True)]
)
async def test_the_time_filters_are_exact(
    stand_ins: StandIns, name: str, *, included: bool
) -> None:
    await register(stand_ins, createdAt=NOON.isoformat())
    found = await calls(stand_ins, **{f"createdAt{name}": "2026-03-01T12:00:00.000Z"})
    assert bool(found) == included


@pytest.mark.parametrize("name", ["page", "cursor", "sort", "sortOrder"])
async def test_a_parameter_that_vapi_does_not_have_is_400(stand_ins: StandIns, name: str) -> None:
    answer = await stand_ins.vapi.get("/call", params={name: "1"})
    assert answer.status_code == 400
    assert answer.json()["message"] == [f"property {name} should not exist"]


async def test_the_second_list_has_pages_and_says_how_many_calls_there_are(
    stand_ins: StandIns,
) -> None:
    """As published: whole numbers are numbers, and what is optional is absent."""
    for minute in (3, 1, 2):
        created = (NOON + timedelta(minutes=minute)).isoformat()
        await register(stand_ins, id=f"call_{minute}", createdAt=created, durationSeconds=90)
    asked = {"limit": "2", "page": "2", "sortOrder": "ASC", "createdAtGe": NOON.isoformat()}
    listed = (await stand_ins.vapi.get("/v2/call", params=asked)).raise_for_status().json()
    assert differences("CallPaginatedResponse", listed) == []
    assert [call["id"] for call in listed["results"]] == ["call_3"]
    assert listed["metadata"] == {"itemsPerPage": 2, "totalItems": 3, "currentPage": 2}
    newest = (await stand_ins.vapi.get("/v2/call", params={"limit": 1})).json()
    assert [call["id"] for call in newest["results"]] == ["call_3"]
    assert (await stand_ins.vapi.get("/v2/call", params={"page": 0})).status_code == 400


async def test_no_key_is_401_and_an_unknown_call_404(stand_ins: StandIns) -> None:
    async with httpx.AsyncClient(base_url=stand_ins.urls["vapi"]) as stranger:
        for path in ("/call", "/call/none"):
            assert (await stranger.get(path)).status_code == 401
    missing = await stand_ins.vapi.get("/call/none")
    assert (missing.status_code, missing.json()["statusCode"]) == (404, 404)


async def test_a_429_carries_its_retry_after(stand_ins: StandIns) -> None:
    fault = {"kind": "status", "method": "GET", "path": "/call", "status": 429, "retry_after": 2}
    await stand_ins.control("vapi", "faults", fault)
    limited = await stand_ins.vapi.get("/call")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "2")
    assert await calls(stand_ins) == []


# Messages.


async def test_an_ended_call_is_reported_once_and_not_again(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    receiver.statuses.append(503)
    call_id = await register(stand_ins)
    await stand_ins.control("vapi", f"calls/{call_id}/end", {"durationSeconds": 61})
    await receiver.expect(1)
    await asyncio.sleep(0.2)
    (message,) = receiver.messages()
    assert message["type"] == "end-of-call-report"
    assert (message["startedAt"], message["endedAt"]) == (
        "2026-03-01T12:00:00.000Z",
        "2026-03-01T12:01:01.000Z",
    )
    assert (message["durationSeconds"], message["call"]["id"]) == (61.0, call_id)
    assert (message["call"]["orgId"], "endedAt" in message["call"]) == (VAPI_ACCOUNT_ID, False)
    ended = (await stand_ins.vapi.get(f"/call/{call_id}")).json()
    assert (ended["status"], ended["endedAt"]) == ("ended", message["endedAt"])
    shown = (await stand_ins.vapi.get("/_control/deliveries")).json()["deliveries"][-1]
    assert (shown["state"], shown["attempts"]) == ("failed", 1)


async def test_a_call_that_never_connected_has_no_start(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    call_id = await register(stand_ins, startedAt=None)
    reason = {"endedReason": "customer-did-not-answer"}
    await stand_ins.control("vapi", f"calls/{call_id}/end", reason)
    (message,) = [webhook.json["message"] for webhook in await receiver.expect(1)]
    assert "startedAt" not in message
    assert "durationSeconds" not in message
    assert message["endedReason"] == "customer-did-not-answer"


async def test_a_report_may_be_dropped_copied_or_lack_fields(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    call_id = await register(stand_ins)
    await stand_ins.control("vapi", f"calls/{call_id}/end", {"drop": True})
    omitted = ["startedAt", "endedAt", "durationSeconds"]
    how = {"copies": 3, "omit": omitted}
    await stand_ins.control("vapi", f"calls/{call_id}/end", how)
    await receiver.expect(3)
    assert len({webhook.body for webhook in receiver.received}) == 1
    assert not receiver.messages()[0].keys() & set(omitted)
    states = [row["state"] for row in await deliveries(stand_ins)]
    assert states.count("dropped") == 1


async def deliveries(stand_ins: StandIns) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await stand_ins.vapi.get("/_control/deliveries")).json()[
        "deliveries"
    ]
    return rows[-4:]


async def test_the_three_ways_to_authenticate(stand_ins: StandIns, receiver: Receiver) -> None:
    call_id = await register(stand_ins)
    for number, mode in enumerate(("bearer", "secret", "hmac")):
        await stand_ins.control("vapi", f"calls/{call_id}/end", {"auth": mode})
        await receiver.expect(number + 1)
    bearer, secret, signed = receiver.received
    assert bearer.headers["authorization"] == f"Bearer {VAPI_SECRET}"
    assert secret.headers["x-vapi-secret"] == VAPI_SECRET
    over = signed.headers["x-timestamp"].encode() + b"." + signed.body
    expected = hmac.new(VAPI_SECRET.encode(), over, hashlib.sha256).hexdigest()
    assert signed.headers["x-signature"] == expected


async def test_a_status_update_moves_the_call(stand_ins: StandIns, receiver: Receiver) -> None:
    call_id = await register(stand_ins, startedAt=None)
    await stand_ins.control("vapi", f"calls/{call_id}/status", {"status": "in-progress"})
    (message,) = [webhook.json["message"] for webhook in await receiver.expect(1)]
    assert (message["type"], message["status"]) == ("status-update", "in-progress")
    assert "startedAt" in (await stand_ins.vapi.get(f"/call/{call_id}")).json()


async def test_an_assistant_request_brings_back_the_answer(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    body = {"phoneNumberId": "phone_1"}
    assert (await stand_ins.control("vapi", "assistant-request", body))["status"] == 200
    assert receiver.messages()[0]["call"]["phoneNumberId"] == "phone_1"


async def test_a_fraction_of_reports_is_lost_the_same_ones_each_time(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    await stand_ins.control("vapi", "deliveries", {"drop_fraction": 0.5, "seed": 3})
    lost: list[set[str]] = []
    for _ in range(2):
        for number in range(20):
            call_id = await register(stand_ins, id=f"lossy_{number}")
            await stand_ins.control("vapi", f"calls/{call_id}/end")
        rows = (await stand_ins.vapi.get("/_control/deliveries")).json()["deliveries"][-20:]
        lost.append({row["event"] for row in rows if row["state"] == "dropped"})
    assert lost[0] == lost[1]
    assert 2 <= len(lost[0]) <= 18
    await eventually(lambda: len(receiver.received) == 2 * (20 - len(lost[0])))


def test_the_message_functions_need_no_server() -> None:
    report = end_of_call_report("call_1", "asst_1", NOON, NOON + timedelta(seconds=30))
    message = report["message"]
    assert (message["durationSeconds"], message["call"]["assistantId"]) == (30.0, "asst_1")
    body = json.dumps(report).encode()
    headers = auth_headers("hmac", "s", body, NOON.timestamp())
    assert headers["x-timestamp"] == str(int(NOON.timestamp() * 1000))


# What its SDK publishes.


async def shown(stand_ins: StandIns, call_id: str) -> dict[str, Any]:
    call: dict[str, Any] = (await stand_ins.vapi.get(f"/call/{call_id}")).raise_for_status().json()
    return call


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_and_all_that_is_told_of_it_have_the_published_types(
    stand_ins: StandIns, receiver: Receiver, kind: str
) -> None:
    call_id = await register(stand_ins, **{"assistantId": None} | KINDS[kind])
    assert differences("Call", await shown(stand_ins, call_id)) == []
    await stand_ins.control("vapi", f"calls/{call_id}/status", {"status": "in-progress"})
    await stand_ins.control("vapi", f"calls/{call_id}/end", {"durationSeconds": 61})
    await receiver.expect(2)
    update, report = receiver.messages()
    assert differences("ServerMessageStatusUpdate", update) == []
    assert differences("ServerMessageEndOfCallReport", report) == []
    ended = await shown(stand_ins, call_id)
    assert differences("Call", ended) == []
    given = KINDS[kind].keys() & {"assistantId", "squadId", "squad", "workflowId", "assistant"}
    assert {name: report["call"][name] for name in given} == {name: ended[name] for name in given}


async def test_who_was_active_is_told_at_the_end_and_who_was_made_for_the_call_has_no_id(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    call_id = await register(stand_ins, assistantId=None, **KINDS["squad"])
    await stand_ins.control("vapi", f"calls/{call_id}/end")
    await receiver.expect(1)
    active = [{"assistantName": "Front desk", "assistantId": "asst_1"}]
    active.append({"assistantName": "Front desk"})
    assert receiver.messages()[0]["artifact"]["assistantActivations"] == active
    assert (await shown(stand_ins, call_id))["artifact"]["assistantActivations"] == active


async def test_a_call_can_have_ended_without_an_end_and_for_any_reason_that_is_published(
    stand_ins: StandIns,
) -> None:
    reason = {"endedReason": "call.in-progress.error-vapifault-worker-died"}
    call = await shown(stand_ins, await register(stand_ins, status="ended", **reason))
    assert differences("Call", call) == []
    assert (call["status"], "endedAt" in call) == ("ended", False)
    assert call["endedReason"] == reason["endedReason"]


async def test_a_record_changes_later_and_says_when(stand_ins: StandIns) -> None:
    call_id = await register(stand_ins, durationSeconds=60)
    path, later = f"/_control/calls/{call_id}", "2026-11-03T08:00:00.000Z"
    changed = await stand_ins.vapi.patch(path, json={"updatedAt": later, "cost": 0.25})
    assert (changed.json()["updatedAt"], changed.json()["cost"]) == (later, 0.25)
    listed = await stand_ins.vapi.get("/call", params={"updatedAtGe": later, "limit": 1000})
    assert call_id in [call["id"] for call in listed.json()]
    assert differences("Call", await shown(stand_ins, call_id)) == []


async def test_a_call_that_is_deleted_is_shown_once_more_and_then_unknown(
    stand_ins: StandIns,
) -> None:
    call_id = await register(stand_ins, durationSeconds=60)
    assert (await stand_ins.vapi.delete(f"/call/{call_id}")).json()["id"] == call_id
    assert (await stand_ins.vapi.get(f"/call/{call_id}")).status_code == 404
    assert (await stand_ins.vapi.delete(f"/call/{call_id}")).status_code == 404


async def test_an_assistant_request_has_the_published_type(
    stand_ins: StandIns, receiver: Receiver
) -> None:
    await stand_ins.control("vapi", "assistant-request", {"phoneNumberId": "number_1"})
    assert differences("ServerMessageAssistantRequest", receiver.messages()[0]) == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"endedAt": None}, "Call.endedAt is null, and should be absent"),
        ({"metadata": {}}, "Call.metadata is not published"),
        ({"status": "over"}, "Call.status is over, which is no CallStatus"),
        ({"updatedAt": "now"}, "Call.updatedAt is now, which is no dt.datetime"),
        ({"squad": {}}, "Call.squad.members is missing"),
        ({"cost": "1"}, "Call.cost is 1, which is no float"),
        ({"artifact": {"assistantActivations": [{}]}},
         "Call.artifact.assistantActivations[0].assistantName is missing"),
    ],
)  # fmt: skip
def test_a_difference_is_found_and_named(value: dict[str, Any], said: str) -> None:
    moment = NOON.isoformat()
    call = {"id": "1", "orgId": "2", "createdAt": moment, "updatedAt": moment}
    assert differences("Call", call) == []
    assert differences("Call", call | value) == [said]
