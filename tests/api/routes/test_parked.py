"""Parked work over HTTP: found, summed up, read, and decided about, one and many."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.answers import eventually, problem
from tests.support.api_server import Api, serving
from tests.support.factories import (
    an_assistant,
    an_organization,
    credit,
    ended_call,
    keys_of,
    unique,
)
from tests.support.parked_workflows import calls_that_wait, ended, start_bill

NOTE = {"note": "the customer has paid"}
WHO = "the tests' operator (%s): the customer has paid"


async def listed(api: Api, **wanted: Any) -> dict[str, Any]:
    answer = await api.operator.get("/v1/parked", params=wanted)
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def decided(api: Api, **wanted: Any) -> list[dict[str, Any]]:
    answer = await api.operator.get("/v1/decisions", params=wanted)
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


async def say(api: Api, workflow_id: str, verdict: str) -> dict[str, Any]:
    answer = await api.operator.post(f"/v1/parked/{workflow_id}/{verdict}", json=NOTE)
    came_of_it: dict[str, Any] = answer.raise_for_status().json()
    return came_of_it


# ---- finding


async def test_parked_work_is_listed_with_everything_that_an_operator_needs(
    working_api: Api,
) -> None:
    api = working_api
    org_id, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    [item] = (await listed(api, org_id=org_id))["items"]
    since = datetime.fromisoformat(item.pop("since"))
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=1)  # noqa: TID251
    assert "The wallet cannot pay this call" in item.pop("happened")
    assert "it settles by itself" in item.pop("advice")
    assert item.pop("run_id") == (await handle.describe()).run_id
    assert item == {
        "workflow_id": handle.id,
        "process": "BillCall",
        "org_id": org_id,
        "reason": "debt_limit",
        "until": None,
        "at_risk": {"amount_minor": 56, "currency": "gbp"},
        "choices": ["reprocess", "discard"],
        "url": None,
        "decided": None,
        "changed": None,
    }


async def test_where_the_ui_is_known_each_has_its_page(working_api: Api) -> None:
    api = working_api
    org_id, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    ui = "http://ui.example/namespaces/billing/workflows"
    async with serving(api.engine, api.temporal, workflows_url=ui) as with_ui:
        [item] = (await listed(with_ui, org_id=org_id))["items"]
    assert item["url"] == f"{ui}/{quote(handle.id, safe='')}"


async def test_filters_keep_what_fits_and_totals_sum_all_of_it_up(working_api: Api) -> None:
    api = working_api
    org_id, _ = await calls_that_wait(api.temporal, api.engine, 2)
    [total] = (await listed(api, org_id=org_id, limit=1))["totals"]
    assert (total["reason"], total["count"]) == ("debt_limit", 2)
    assert total["at_risk"] == [{"amount_minor": 112, "currency": "gbp"}]
    past, future = "2026-01-01T00:00:00Z", "2099-01-01T00:00:00+01:00"
    for wanted, count in (
        ({"reason": "debt_limit", "process": "BillCall", "parked_before": future}, 2),
        ({"reason": "fault"}, 0),
        ({"process": "SettlePayment"}, 0),
        ({"parked_before": past}, 0),
    ):
        found = await listed(api, org_id=org_id, **wanted)
        assert len(found["items"]) == count
        assert sum(one["count"] for one in found["totals"]) == count


async def test_pages_follow_each_other_and_only_the_first_has_totals(working_api: Api) -> None:
    api = working_api
    org_id, handles = await calls_that_wait(api.temporal, api.engine, 3)
    page = await listed(api, org_id=org_id, limit=2)
    seen = page["items"]
    assert page["totals"][0]["count"] == 3
    while page["next_cursor"] is not None:
        page = await listed(api, org_id=org_id, limit=2, cursor=page["next_cursor"])
        seen += page["items"]
        assert page["totals"] is None
    assert sorted(one["workflow_id"] for one in seen) == sorted(one.id for one in handles)


@pytest.mark.parametrize("cursor", ["A", "AA==", "bm90aGluZw==", "e30=", "eyJhIjoxfQ=="])
async def test_a_cursor_that_nobody_gave_out_is_refused(working_api: Api, cursor: str) -> None:
    answer = await working_api.operator.get("/v1/parked", params={"cursor": cursor})
    problem(answer, 422, "invalid_cursor")


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": "x' OR 1=1"}, {"process": "Bill Call"}, {"org_id": "\x00"}, {"org_id": ""},
        {"parked_before": "yesterday"}, {"parked_before": "2026-11-01T00:00:00"},
        {"cursor": "%"}, {"limit": 0}, {"limit": 201},
    ],
)  # fmt: skip
async def test_a_filter_that_cannot_be_is_invalid(api: Api, wrong: dict[str, Any]) -> None:
    problem(await api.operator.get("/v1/parked", params=wrong), 422, "invalid")


async def test_only_operators_see_and_decide(working_api: Api) -> None:
    api = working_api
    org_id, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    tenant = await api.tenant(org_id)
    for path in ("parked", f"parked/{handle.id}", "decisions", "bulk-decisions/some"):
        problem(await tenant.get(f"/v1/{path}"), 403, "forbidden")
    for path in (f"parked/{handle.id}/reprocess", f"parked/{handle.id}/discard", "bulk-decisions"):
        body = {"verdict": "discard", "all": True, **NOTE} if path == "bulk-decisions" else NOTE
        problem(await tenant.post(f"/v1/{path}", json=body), 403, "forbidden")
    assert await decided(api, workflow_id=handle.id) == []


# ---- deciding about one


async def test_reprocess_answers_with_what_came_of_it_and_is_recorded(working_api: Api) -> None:
    api = working_api
    org_id, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    again = await say(api, handle.id, "reprocess")
    assert (again["standing"], again["reason"]) == ("parked", "debt_limit")
    assert again["happened"].startswith("The wallet cannot pay this call")
    shown = (await api.operator.get(f"/v1/parked/{handle.id}")).raise_for_status().json()
    assert (shown["reason"], len(shown["decided"])) == ("debt_limit", 1)

    await credit(api.engine, org_id, 56)
    assert await say(api, handle.id, "reprocess") == {
        "workflow_id": handle.id, "standing": "settled", "reason": None, "happened": None,
    }  # fmt: skip
    newest, oldest = await decided(api, workflow_id=handle.id)
    assert (newest["number"], oldest["number"]) == (2, 1)
    key_id = await own_key_id(api)
    for one in (newest, oldest):
        assert (one["verdict"], one["who_and_why"]) == ("reprocess", WHO % key_id)
        assert (one["org_id"], one["reason"]) == (org_id, "debt_limit")
    assert await decided(api, org_id=org_id) == [newest, oldest]
    problem(await api.operator.get(f"/v1/parked/{handle.id}"), 404, "not_found")


async def test_discard_gives_it_up(working_api: Api) -> None:
    api = working_api
    org_id, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    assert (await say(api, handle.id, "discard"))["standing"] == "discarded"
    await ended(handle)
    assert await keys_of(api.engine, org_id) == []
    [one] = await decided(api, org_id=org_id)
    assert one["verdict"] == "discard"


async def test_what_is_unknown_is_not_found_and_what_is_not_parked_is_a_conflict(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    done = await start_bill(api.temporal, ended_call(await an_assistant(api.engine, org_id)))
    await ended(done)
    for verdict in ("reprocess", "discard"):
        for workflow_id, status, code in (
            (f"call/{unique('call')}", 404, "not_found"),
            (done.id, 409, "not_parked"),
            ("inbox/drain", 409, "not_parked"),
        ):
            path = f"/v1/parked/{workflow_id}/{verdict}"
            problem(await api.operator.post(path, json=NOTE), status, code)
    problem(await api.operator.get(f"/v1/parked/call/{unique('call')}"), 404, "not_found")


@pytest.mark.parametrize("wrong", [{}, {"note": ""}, {"note": " "}, {"note": "x", "more": 1}])
async def test_who_decides_must_say_why(api: Api, wrong: dict[str, Any]) -> None:
    for verdict in ("reprocess", "discard"):
        answer = await api.operator.post(f"/v1/parked/call/abc/{verdict}", json=wrong)
        problem(answer, 422, "invalid")
    body = {"verdict": "discard", "all": True, **wrong}
    problem(await api.operator.post("/v1/bulk-decisions", json=body), 422, "invalid")


async def test_without_a_worker_nothing_is_decided(api: Api) -> None:
    """Nobody works in this API's namespace."""
    org_id = await an_organization(api.engine)
    handle = await start_bill(api.temporal, ended_call(await an_assistant(api.engine, org_id)))
    answer = await api.operator.post(f"/v1/parked/{handle.id}/discard", json=NOTE)
    problem(answer, 409, "not_parked")
    bulk = {"verdict": "discard", "org_id": org_id, **NOTE}
    begun = (await api.operator.post("/v1/bulk-decisions", json=bulk)).raise_for_status().json()
    assert (begun["told"], begun["done"]) == (0, False)
    answer = await api.operator.get(f"/v1/bulk-decisions/{begun['bulk_id']}")
    problem(answer, 503, "temporal_unavailable")


# ---- deciding about many


async def bulk(api: Api, key: str | None = None, **wanted: Any) -> dict[str, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"verdict": "reprocess", **NOTE, **wanted}
    answer = await api.operator.post("/v1/bulk-decisions", json=body, headers=headers)
    assert answer.status_code == (200 if wanted.get("dry_run") else 202), answer.text
    begun: dict[str, Any] = answer.json()
    return begun


async def until_done(api: Api, bulk_id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def is_done() -> bool:
        answer = await api.operator.get(f"/v1/bulk-decisions/{bulk_id}")
        found.update(answer.raise_for_status().json())
        return bool(found["done"])

    await eventually(is_done)
    return found


async def test_a_dry_run_says_how_much_it_is_and_tells_nobody(working_api: Api) -> None:
    api = working_api
    org_id, handles = await calls_that_wait(api.temporal, api.engine, 3)
    found = await bulk(api, org_id=org_id, dry_run=True, verdict="discard")
    assert (found["count"], found["totals"][0]["at_risk"][0]["amount_minor"]) == (3, 168)
    assert await decided(api, org_id=org_id) == []
    assert len((await listed(api, org_id=org_id))["items"]) == len(handles)


async def test_a_bulk_decision_reaches_each_and_says_how_far_it_is(working_api: Api) -> None:
    api = working_api
    org_id, handles = await calls_that_wait(api.temporal, api.engine, 3)
    await credit(api.engine, org_id, 2 * 56)
    begun = await bulk(api, org_id=org_id, reason="debt_limit", per_second=50)
    assert (begun["matched"], begun["workflow_id"]) == (3, f"decide/{begun['bulk_id']}")
    done = await until_done(api, begun["bulk_id"])
    assert {name: done[name] for name in ("matched", "told", "gone")} == {
        "matched": 3, "told": 3, "gone": 0,
    }  # fmt: skip

    async def two_are_charged() -> bool:
        return len(await keys_of(api.engine, org_id)) == 2

    await eventually(two_are_charged)
    who = f"{WHO % await own_key_id(api)} (bulk {begun['bulk_id']})"
    records = await decided(api, org_id=org_id)
    assert [one["who_and_why"] for one in records] == [who] * 3
    assert {one["workflow_id"] for one in records} == {one.id for one in handles}


async def test_the_same_request_under_the_same_key_is_the_same_bulk_decision(
    working_api: Api,
) -> None:
    api = working_api
    org_id, _ = await calls_that_wait(api.temporal, api.engine, 2)
    key = unique("key")
    first = await bulk(api, key, org_id=org_id)
    assert await bulk(api, key, org_id=org_id, per_second=20) == first
    body = {"verdict": "discard", "org_id": org_id, **NOTE}
    answer = await api.operator.post(
        "/v1/bulk-decisions", json=body, headers={"Idempotency-Key": key}
    )
    problem(answer, 409, "idempotency_key_reused")
    assert (await until_done(api, first["bulk_id"]))["told"] == 2
    assert await bulk(api, unique("key"), org_id=org_id) != first
    assert {one["verdict"] for one in await decided(api, org_id=org_id)} == {"reprocess"}


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"all": False}, {"org_id": None}, {"reason": "' OR 1"}, {"process": "x y"},
        {"all": True, "per_second": 0}, {"all": True, "per_second": 201},
        {"all": True, "verdict": "approve"}, {"all": True, "more": 1},
    ],
)  # fmt: skip
async def test_a_bulk_decision_says_what_it_is_about(api: Api, wrong: dict[str, Any]) -> None:
    body = {"verdict": "reprocess", **NOTE, **wrong}
    problem(await api.operator.post("/v1/bulk-decisions", json=body), 422, "invalid")


async def test_a_bulk_decision_that_never_was_is_not_found(working_api: Api) -> None:
    answer = await working_api.operator.get(f"/v1/bulk-decisions/{unique('bulk')}")
    problem(answer, 404, "not_found")


async def own_key_id(api: Api) -> str:
    return api.operator.headers["authorization"].split("_")[1]
