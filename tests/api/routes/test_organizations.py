"""Organisations, their wallets, and the debt limit."""

import pytest

from billing.ledger.money import Currency
from tests.support.answers import balance, parked, problem, settled
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, keys_of, unique
from tests.support.signed_webhooks import call_id_of, report


async def test_a_new_organization_has_an_empty_wallet_with_the_default_limits(api: Api) -> None:
    org_id = unique("org")
    new = {"org_id": org_id, "name": "Acme Dental Group", "currency": "gbp"}
    made = await api.operator.post("/v1/organizations", json=new)
    assert made.status_code == 201
    assert (made.json()["org_id"], made.json()["name"]) == (org_id, "Acme Dental Group")
    assert (await api.operator.get(f"/v1/organizations/{org_id}")).json() == made.json()
    wallet = await api.operator.get(f"/v1/organizations/{org_id}/wallet")
    assert wallet.json() == {
        "org_id": org_id,
        "currency": "gbp",
        "balance_minor": 0,
        "debt_limit_minor": 500,
        "low_balance_minor": 500,
        "recharge_below_minor": None,
    }


async def test_an_organization_without_an_id_gets_one(api: Api) -> None:
    made = await api.operator.post("/v1/organizations", json={"name": "Acme", "currency": "usd"})
    assert await balance(api, made.json()["org_id"]) == 0


async def test_creating_the_same_again_gives_what_exists(api: Api) -> None:
    new = {"org_id": unique("org"), "name": "Acme", "currency": "gbp"}
    first, again = [await api.operator.post("/v1/organizations", json=new) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()


@pytest.mark.parametrize(
    "other", [{"name": "Another"}, {"currency": "usd"}, {"debt_limit_minor": 1000}]
)
async def test_creating_it_otherwise_is_a_conflict_and_changes_nothing(
    api: Api, other: dict[str, object]
) -> None:
    new = {"org_id": unique("org"), "name": "Acme", "currency": "gbp"}
    made = (await api.operator.post("/v1/organizations", json=new)).json()
    problem(await api.operator.post("/v1/organizations", json={**new, **other}), 409, "conflict")
    assert (await api.operator.get(f"/v1/organizations/{made['org_id']}")).json() == made


@pytest.mark.parametrize(
    "wrong",
    [
        {"org_id": ""},
        {"org_id": "a/b"},
        {"org_id": "a" * 65},
        {"name": ""},
        {"name": "a\0b"},
        {"currency": "eur"},
        {"debt_limit_minor": -1},
        {"debt_limit_minor": 10**30},
        {"debt_limit_minor": 1.5},
        {"unheard_of": 1},
    ],
)
async def test_an_organization_that_makes_no_sense_is_invalid_and_says_where(
    api: Api, wrong: dict[str, object]
) -> None:
    new = {"org_id": unique("org"), "name": "Acme", "currency": "gbp", **wrong}
    document = problem(await api.operator.post("/v1/organizations", json=new), 422, "invalid")
    [field] = wrong
    assert [error["at"] for error in document["errors"]] == [f"body.{field}"]


async def test_organizations_are_listed_by_id_page_by_page_each_once(api: Api) -> None:
    mine = {await an_organization(api.engine) for _ in range(5)}
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.operator.get("/v1/organizations", params={"limit": "3", **cursor})).json()
        seen += [one["org_id"] for one in page["items"]]
        assert len(page["items"]) <= 3
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == sorted(set(seen))
    assert mine <= set(seen)


@pytest.mark.parametrize("noun", ["", "/wallet", "/entries", "/calls", "/assistants"])
async def test_an_unknown_organization_is_not_found(api: Api, noun: str) -> None:
    answer = await api.operator.get(f"/v1/organizations/{unique('org')}{noun}")
    problem(answer, 404, "not_found")


async def test_the_debt_limit_of_an_unknown_organization_is_not_found(api: Api) -> None:
    path = f"/v1/organizations/{unique('org')}/debt-limit"
    problem(await api.operator.put(path, json={"debt_limit_minor": 1}), 404, "not_found")


async def test_raising_the_debt_limit_charges_the_calls_that_waited_for_it_oldest_first(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 0)
    assistant = await an_assistant(api.engine, org_id)
    webhooks = [report(assistant, seconds) for seconds in (900, 600, 720)]
    for webhook in webhooks:
        await api.send(webhook)
        await parked(api, call_id_of(webhook), "debt_limit")
    path = f"/v1/organizations/{org_id}/debt-limit"
    raised = await api.operator.put(path, json={"debt_limit_minor": 1300})
    assert raised.json()["debt_limit_minor"] == 1300
    shorter, longer = call_id_of(webhooks[1]), call_id_of(webhooks[2])
    await settled(api, shorter)
    await settled(api, longer)
    assert await keys_of(api.engine, org_id) == [f"call:{shorter}", f"call:{longer}"]
    assert await balance(api, org_id) == -553 - 664
    await parked(api, call_id_of(webhooks[0]), "debt_limit")


async def test_lowering_the_debt_limit_leaves_what_was_charged(api: Api) -> None:
    org_id = await an_organization(api.engine, 700, currency=Currency.USD)
    path = f"/v1/organizations/{org_id}/debt-limit"
    lowered = (await api.operator.put(path, json={"debt_limit_minor": 0})).json()
    assert (lowered["debt_limit_minor"], lowered["balance_minor"]) == (0, 700)


async def test_a_body_over_1_mib_is_refused(api: Api) -> None:
    new = {"org_id": unique("org"), "name": "A" * 1024 * 1024, "currency": "gbp"}
    problem(await api.operator.post("/v1/organizations", json=new), 413, "too_large")
    problem(await api.operator.get(f"/v1/organizations/{new['org_id']}"), 404, "not_found")
