"""Debt limits over HTTP: one person sets them, and two raise them by much."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from billing.platform_rules import PlatformRules
from tests.support.adjustments import another_operator
from tests.support.admin_log import done, key_id_of, lines, told
from tests.support.answers import problem
from tests.support.api_server import Api, new_operator_key
from tests.support.factories import an_organization, unique, wallet_of

MOST = PlatformRules().debt_limit_approval_minor


async def put(client: httpx.AsyncClient, org_id: str, minor: int) -> httpx.Response:
    path = f"/v1/organizations/{org_id}/debt-limit"
    return await client.put(path, json={"debt_limit_minor": minor})


async def limit_of(api: Api, org_id: str) -> int:
    return (await wallet_of(api.engine, org_id)).debt_limit_minor


async def waits(client: httpx.AsyncClient, org_id: str, minor: int) -> dict[str, Any]:
    answer = await put(client, org_id, minor)
    assert answer.status_code == 202, answer.text
    asked: dict[str, Any] = answer.json()
    return asked


async def test_so_much_as_one_person_may_raise_needs_no_other(strict_api: Api) -> None:
    ann = await another_operator(strict_api)
    org_id = await an_organization(strict_api.engine)
    raised = await put(ann, org_id, 500 + MOST)
    assert (raised.status_code, raised.json()["debt_limit_minor"]) == (200, 500 + MOST)
    [line] = await lines(strict_api, org_id=org_id)
    assert (line["action"], line["by"]["key_id"]) == ("debt_limit_changed", key_id_of(ann))
    assert (line["before"], line["after"]) == (
        {"debt_limit_minor": 500}, {"debt_limit_minor": 500 + MOST},
    )  # fmt: skip
    assert await told(strict_api.engine, f"debt-limit/{org_id}/") == []


async def test_more_is_asked_for_by_two_and_told(strict_api: Api) -> None:
    api = strict_api
    ann, bob = await another_operator(api), await another_operator(api)
    org_id = await an_organization(api.engine)
    asked = await waits(ann, org_id, 501 + MOST)
    assert (asked["debt_limit_now_minor"], asked["requested_by"]["key_id"]) == (500, key_id_of(ann))
    assert "Another operator" in asked["needs"]
    assert await waits(ann, org_id, 501 + MOST) == asked
    assert await limit_of(api, org_id) == 500
    agreed = await put(bob, org_id, 501 + MOST)
    assert (agreed.status_code, agreed.json()["debt_limit_minor"]) == (200, 501 + MOST)
    assert (await put(ann, org_id, 501 + MOST)).status_code == 200
    assert await done(api, org_id=org_id) == ["debt_limit_asked", "debt_limit_changed"]
    [changed] = await lines(api, org_id=org_id, action="debt_limit_changed")
    assert changed["after"]["asked_with_key"] == key_id_of(ann)
    assert await told(api.engine, f"debt-limit/{org_id}/") == [
        "A raise of a debt limit waits for a second operator",
        "A debt limit was raised by much",
    ]


async def test_what_two_have_raised_is_not_counted_as_one_person_s(strict_api: Api) -> None:
    api = strict_api
    ann, bob = await another_operator(api), await another_operator(api)
    first, second = await an_organization(api.engine), await an_organization(api.engine)
    await waits(ann, first, 501 + MOST)
    assert (await put(bob, first, 501 + MOST)).status_code == 200
    for one in (ann, bob):
        assert (await put(one, second, 1500)).status_code == 200
        await put(one, second, 500)


async def test_raises_of_a_day_add_up_and_lowering_is_free(strict_api: Api) -> None:
    api = strict_api
    ann = await another_operator(api)
    child = (await ann.post("/v1/api-keys", json={"label": "another"})).json()["secret"]
    first, second = await an_organization(api.engine), await an_organization(api.engine)
    assert (await put(ann, first, 500 + MOST - 100)).status_code == 200
    assert (await put(api.with_key(child), second, 600)).status_code == 200
    await waits(ann, second, 601)
    assert (await put(ann, first, 0)).status_code == 200
    await waits(ann, first, 1)


@pytest.mark.parametrize("other", ["another sum", "its limit was changed", "a week is over"])
async def test_a_request_counts_for_the_same_raise_and_not_for_ever(
    strict_api: Api, other: str
) -> None:
    api = strict_api
    ann, bob = await another_operator(api), await another_operator(api)
    org_id = await an_organization(api.engine)
    await waits(ann, org_id, 501 + MOST)
    wanted = 501 + MOST
    match other:
        case "another sum":
            wanted += 1
        case "its limit was changed":
            assert (await put(ann, org_id, 600)).status_code == 200
            assert (await put(ann, org_id, 500)).status_code == 200
        case _:
            await grow_old(api, org_id, timedelta(days=7), key_id_of(bob))
    asked = await waits(bob, org_id, wanted)
    assert asked["requested_by"]["key_id"] == key_id_of(bob)
    assert await limit_of(api, org_id) == 500


async def grow_old(api: Api, org_id: str, age: timedelta, key_id: str) -> None:
    """Have what stands in the book be older, and a key older still: nobody else can."""
    async with api.engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text("UPDATE admin_log SET recorded_at = recorded_at - :age WHERE org_id = :org_id"),
            {"age": age, "org_id": org_id},
        )
        await connection.execute(
            text("UPDATE api_keys SET created_at = created_at - :age * 2 WHERE key_id = :key_id"),
            {"age": age, "key_id": key_id},
        )


async def test_a_key_of_the_asker_s_and_one_made_for_the_occasion_are_not_another(
    strict_api: Api,
) -> None:
    api = strict_api
    ann = await another_operator(api)
    child = api.with_key((await ann.post("/v1/api-keys", json={"label": "a"})).json()["secret"])
    org_id = await an_organization(api.engine)
    await waits(ann, org_id, 501 + MOST)
    await waits(child, org_id, 501 + MOST)
    await waits(api.with_key(await new_operator_key(api.engine)), org_id, 501 + MOST)
    assert await limit_of(api, org_id) == 500


async def test_a_new_organisation_with_a_high_limit_counts_as_raised(strict_api: Api) -> None:
    api = strict_api
    ann = await another_operator(api)
    new = {"org_id": unique("org"), "name": "Acme", "currency": "gbp"}
    refused = await ann.post("/v1/organizations", json={**new, "debt_limit_minor": 501 + MOST})
    problem(refused, 403, "needs_another_person")
    problem(await ann.get(f"/v1/organizations/{new['org_id']}"), 404, "not_found")
    made = await ann.post("/v1/organizations", json={**new, "debt_limit_minor": 500 + MOST})
    assert made.status_code == 201
    assert (await ann.post("/v1/organizations", json={**new, "debt_limit_minor": 500 + MOST})
            ).status_code == 201  # fmt: skip
    assert await done(api, org_id=new["org_id"]) == ["organization_made"]
    await waits(ann, await an_organization(api.engine), 501)
