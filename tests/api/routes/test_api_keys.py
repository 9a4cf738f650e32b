"""Who may do what: an operator all, an organisation what is its own, a revoked key nothing."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select

from store.schema import api_keys
from tests.support.answers import parked, problem, settled
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, unique
from tests.support.signed_webhooks import call_id_of, report

READABLE = ["", "/wallet", "/entries", "/calls", "/assistants"]


async def new_key(api: Api, org_id: str | None = None) -> dict[str, Any]:
    new = {"label": "a test's", "org_id": org_id}
    issued: dict[str, Any] = (await api.operator.post("/v1/api-keys", json=new)).json()
    return issued


async def listed(api: Api) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    cursor: dict[str, str] = {}
    while True:
        answer = await api.operator.get("/v1/api-keys", params={"limit": "100", **cursor})
        page = answer.json()
        found |= {key["key_id"]: key for key in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


async def test_a_new_key_works_and_is_listed_without_its_secret(api: Api) -> None:
    issued = await new_key(api)
    answer = await api.with_key(issued["secret"]).get("/v1/api-keys")
    assert answer.is_success
    key = (await listed(api))[issued["api_key"]["key_id"]]
    assert {**key, "last_used_at": None} == issued["api_key"]
    assert (key["scope"], key["org_id"], key["revoked_at"]) == ("operator", None, None)
    assert issued["secret"].split("_", 2)[2] not in str(await listed(api))


async def test_a_secret_is_never_stored_in_clear(api: Api) -> None:
    issued = await new_key(api)
    _, key_id, secret = issued["secret"].split("_", 2)
    async with api.engine.connect() as connection:
        row = (await connection.execute(select(api_keys).where(api_keys.c.key_id == key_id))).one()
    assert secret not in str(tuple(row))
    assert len(secret) >= 43, "256 bits"


async def test_two_keys_have_nothing_in_common(api: Api) -> None:
    first, second = await new_key(api), await new_key(api)
    assert first["api_key"]["key_id"] != second["api_key"]["key_id"]
    swapped = "_".join([*first["secret"].split("_", 2)[:2], second["secret"].split("_", 2)[2]])
    problem(await api.with_key(swapped).get("/v1/api-keys"), 401, "unauthorized")


async def test_a_revoked_key_is_useless_at_once_and_revoking_it_again_is_no_error(api: Api) -> None:
    issued = await new_key(api)
    path = f"/v1/api-keys/{issued['api_key']['key_id']}"
    client = api.with_key(issued["secret"])
    assert (await client.get("/v1/organizations")).is_success
    assert (await api.operator.delete(path)).status_code == 204
    problem(await client.get("/v1/organizations"), 401, "unauthorized")
    revoked_at = (await listed(api))[issued["api_key"]["key_id"]]["revoked_at"]
    assert revoked_at is not None
    assert (await api.operator.delete(path)).status_code == 204
    assert (await listed(api))[issued["api_key"]["key_id"]]["revoked_at"] == revoked_at


async def test_an_unknown_key_cannot_be_revoked(api: Api) -> None:
    problem(await api.operator.delete(f"/v1/api-keys/{unique('key')}"), 404, "not_found")


async def test_a_key_is_made_for_an_organization_that_exists(api: Api) -> None:
    new = {"label": "nobody's", "org_id": unique("org")}
    problem(await api.operator.post("/v1/api-keys", json=new), 404, "not_found")


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer nonsense", "Bearer cw_", "Bearer cw_a_", "Bearer cw_a_b",
     "Basic Y3c6Y3c=", "cw_a_b", "Bearer sk_live_1"],
)  # fmt: skip
async def test_without_a_good_key_everything_but_webhooks_and_health_is_closed(
    api: Api, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for path in ("/v1/organizations", "/v1/api-keys", "/v1/calls/c1", "/metrics"):
        answer = await api.anonymous.get(path, headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("noun", READABLE)
async def test_a_tenant_reads_what_is_its_own_and_nothing_of_another(api: Api, noun: str) -> None:
    mine, other = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(mine)
    assert (await tenant.get(f"/v1/organizations/{mine}{noun}")).is_success
    for org_id in (other, unique("org")):
        problem(await tenant.get(f"/v1/organizations/{org_id}{noun}"), 403, "forbidden")


async def test_a_tenant_changes_nothing_not_even_its_own(api: Api) -> None:
    org_id = await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    new = {"org_id": unique("org"), "name": "Mine", "currency": "gbp"}
    own = f"/v1/organizations/{org_id}"
    tries = [
        tenant.post("/v1/organizations", json=new),
        tenant.get("/v1/organizations"),
        tenant.put(f"{own}/debt-limit", json={"debt_limit_minor": 10_000}),
        tenant.post(f"{own}/assistants", json={"assistant_id": unique("assistant")}),
        tenant.delete(f"{own}/assistants/{unique('assistant')}"),
        tenant.post("/v1/api-keys", json={"label": "more power"}),
        tenant.post("/v1/api-keys", json={"label": "as much power", "org_id": org_id}),
        tenant.get("/metrics"),
    ]
    for each in tries:
        problem(await each, 403, "forbidden")
    problem(await api.operator.get(f"/v1/organizations/{new['org_id']}"), 404, "not_found")
    wallet = await tenant.get(f"{own}/wallet")
    assert wallet.json()["debt_limit_minor"] == 500


async def test_a_tenant_reads_its_calls_and_the_calls_of_others_are_unknown_to_it(
    working_api: Api,
) -> None:
    api = working_api
    mine, other = await an_organization(api.engine, 1000), await an_organization(api.engine, 1000)
    calls = {org_id: report(await an_assistant(api.engine, org_id), 60) for org_id in (mine, other)}
    nobodys = report(unique("assistant"), 60)
    for webhook in (*calls.values(), nobodys):
        await api.send(webhook)
    for webhook in calls.values():
        await settled(api, call_id_of(webhook))
    await parked(api, call_id_of(nobodys), "unknown_assistant")
    tenant = await api.tenant(mine)
    assert (await read(tenant, call_id_of(calls[mine]))).is_success
    for hidden in (call_id_of(calls[other]), call_id_of(nobodys), unique("call")):
        document = problem(await read(tenant, hidden), 404, "not_found")
        assert document["detail"] == f"no call {hidden} has been received"


async def read(client: httpx.AsyncClient, call_id: str) -> httpx.Response:
    return await client.get(f"/v1/calls/{call_id}")
