"""One person with an operator's key tries to get 50,000.00 to an organisation.

Each way is refused, or it stands in the book, and people are told.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx

from activities.adjustments import AdjustmentActivities, AdjustmentOpening
from billing.adjustments import APPROVAL_WAITS, Who
from billing.platform_rules import PlatformRules
from tests.api.routes.test_tariffs import wanted as price
from tests.support.adjustments import adjusted, another_operator, post, say, wanted
from tests.support.admin_log import done, key_id_of, lines, told
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, balance_of, unique, wallet_of
from tests.support.proposals import proposed

MUCH = 5_000_000
RULES = PlatformRules()


async def minted(api: Api, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Make an operator's key with that of another client: it is told, and stands in the book."""
    made = (await client.post("/v1/api-keys", json={"label": "a helper"})).raise_for_status().json()
    key_id = made["api_key"]["key_id"]
    assert await told(api.engine, f"api-key/{key_id}:made") == ["There is a new operator's key"]
    assert await done(api, subject=key_id, actor=key_id_of(client)) == ["key_made"]
    return api.with_key(made["secret"])


async def a_big_one(client: httpx.AsyncClient, org_id: str) -> dict[str, Any]:
    answer = await post(client, org_id, wanted(amount_minor=MUCH))
    assert answer.status_code == 202, answer.text
    waits: dict[str, Any] = answer.json()
    return waits


async def put_limit(client: httpx.AsyncClient, org_id: str, minor: int) -> httpx.Response:
    path = f"/v1/organizations/{org_id}/debt-limit"
    return await client.put(path, json={"debt_limit_minor": minor})


async def spendable(api: Api, org_id: str) -> int:
    return (await wallet_of(api.engine, org_id)).spendable_minor


async def test_by_an_adjustment_and_a_key_that_they_minted(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    before = await minted(api, mallory)
    waits = await a_big_one(mallory, org_id)
    after = await minted(api, mallory)
    of_that = await minted(api, after)
    for client in (mallory, before, after, of_that):
        problem(await say(client, waits, "approve"), 403, "same_operator")
    waits = await a_big_one(before, org_id)
    problem(await say(mallory, waits, "approve"), 403, "same_operator")
    assert await balance_of(api.engine, org_id) == 0
    assert await told(api.engine, f"adjustment:{waits['adjustment_id']}") != []


async def test_by_two_keys_that_they_minted_before(strict_api: Api) -> None:
    """Two colleagues have keys that were made beside the database."""
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    one, two = await minted(api, mallory), await minted(api, mallory)
    waits = await a_big_one(one, org_id)
    problem(await say(two, waits, "approve"), 403, "same_operator")
    for client in (one, two):
        path = f"/v1/api-keys/{key_id_of(client)}"
        assert (await mallory.delete(path)).status_code == 204
        assert await done(api, subject=key_id_of(client)) == ["key_made", "key_revoked"]
    assert await done(api, subject=waits["adjustment_id"]) == ["adjustment_asked"]
    assert await balance_of(api.engine, org_id) == 0


async def test_by_a_key_that_they_rotate(strict_api: Api) -> None:
    """Their own, that of a colleague, and one of a colleague's that they then give back."""
    api = strict_api
    mallory, ann = await another_operator(api), await another_operator(api)
    org_id = await an_organization(api.engine)
    waits = await a_big_one(mallory, org_id)
    for client in (mallory, ann):
        path = f"/v1/api-keys/{key_id_of(client)}/rotate"
        headers = {"Idempotency-Key": unique("rotation")}
        made = (await mallory.post(path, json={}, headers=headers)).raise_for_status().json()
        key_id = made["api_key"]["key_id"]
        assert await done(api, subject=key_id, actor=key_id_of(mallory)) == ["key_rotated"]
        assert await told(api.engine, f"api-key/{key_id}:made") == ["There is a new operator's key"]
        answer = await say(api.with_key(made["secret"]), waits, "approve")
        problem(answer, 403, "same_operator")
    problem(await say(ann, waits, "approve"), 403, "same_operator")
    assert await balance_of(api.engine, org_id) == 0


async def test_by_a_key_that_is_revoked_afterwards(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    thrown_away = await minted(api, mallory)
    await adjusted(thrown_away, org_id, amount_minor=100)
    key_id = key_id_of(thrown_away)
    assert (await thrown_away.delete(f"/v1/api-keys/{key_id}")).status_code == 204
    written = await lines(api, actor=key_id)
    assert [one["action"] for one in written] == ["key_revoked", "adjustment_asked"]
    assert {one["by"]["label"] for one in written} == {"a helper"}


async def test_by_adjustments_that_are_small(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    child = await minted(api, mallory)
    first = await adjusted(mallory, org_id, amount_minor=1)
    much = replace(
        proposed(org_id, RULES.adjustment_day_approval_minor - 1, needs_approval=False),
        requested_by=Who(**first["requested_by"]),
    )
    now = datetime.fromisoformat(first["requested_at"])
    activities = AdjustmentActivities(api.engine)
    await activities.open_adjustment(AdjustmentOpening(much, now, now + APPROVAL_WAITS))
    for client in (mallory, child):
        answer = await post(client, org_id, wanted(amount_minor=1))
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")


async def test_by_a_debt_limit(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    child = await minted(api, mallory)
    for client in (mallory, child, mallory):
        assert (await put_limit(client, org_id, MUCH)).status_code == 202
    assert await spendable(api, org_id) == 500
    [title] = await told(api.engine, f"debt-limit/{org_id}/")
    assert title == "A raise of a debt limit waits for a second operator"


async def test_by_debt_limits_that_are_raised_bit_by_bit_here_and_there(strict_api: Api) -> None:
    api = strict_api
    mallory = await another_operator(api)
    keys = (mallory, await minted(api, mallory))
    mine = [await an_organization(api.engine) for _ in keys]
    statuses = [
        (await put_limit(client, org_id, limit)).status_code
        for limit in (40_500, 80_500)
        for client, org_id in zip(keys, mine, strict=True)
    ]
    assert statuses == [200, 200, 202, 202]
    assert sum([await spendable(api, org_id) for org_id in mine]) == 2 * 40_500


async def test_by_an_organisation_that_is_born_with_it(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), unique("org")
    new = {"org_id": org_id, "name": "Shell", "currency": "gbp", "debt_limit_minor": MUCH}
    problem(await mallory.post("/v1/organizations", json=new), 403, "needs_another_person")
    problem(await mallory.get(f"/v1/organizations/{org_id}"), 404, "not_found")


async def test_by_a_price_of_nothing_or_less(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    for path, rate in (("/v1/tariffs", "rate_minor_per_minute"),
                       ("/v1/sms-tariffs", "price_minor_per_segment")):  # fmt: skip
        negative = price(path, org_id, **{rate: "-65"})
        problem(await mallory.post(path, json=negative), 422, "invalid")
        free = price(path, org_id, **{rate: "0"})
        (await mallory.post(path, json=free)).raise_for_status()
        name = free.get("tariff_id") or free["sms_tariff_id"]
        [line] = await lines(api, subject=name)
        assert line["by"]["key_id"] == key_id_of(mallory)
        assert len(await told(api.engine, f"price/{name}")) == 1


async def test_by_having_another_pay_for_the_calls(strict_api: Api) -> None:
    api = strict_api
    mallory = await another_operator(api)
    mine, victim = await an_organization(api.engine), await an_organization(api.engine)
    assistant = await an_assistant(api.engine, mine)
    path = "/v1/organizations/{}/assistants"
    refused = await mallory.post(path.format(victim), json={"assistant_id": assistant})
    problem(refused, 409, "conflict")
    await mallory.delete(f"{path.format(mine)}/{assistant}")
    (await mallory.post(path.format(victim), json={"assistant_id": assistant})).raise_for_status()
    [moved, _] = await lines(api, subject=assistant)
    assert moved["before"]["org_id"] == mine
    assert len(await told(api.engine, f"registration/{moved['position']}")) == 1


async def test_by_freezes_which_move_nothing(strict_api: Api) -> None:
    api = strict_api
    mallory, org_id = await another_operator(api), await an_organization(api.engine)
    path = f"/v1/organizations/{org_id}/frozen"
    (await mallory.put(path, json={"reason": "hide"})).raise_for_status()
    (await mallory.delete(path)).raise_for_status()
    assert await done(api, org_id=org_id) == ["frozen", "thawed"]
    assert await spendable(api, org_id) == 500
