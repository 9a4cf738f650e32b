"""Requests that move money: sent twice, at once, or after a crash, they act once."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import delete

from store.schema import idempotency_keys
from tests.support.adjustments import BIG, another_operator, lose_the_answer, post, say, wanted
from tests.support.answers import balance, problem
from tests.support.api_server import Api
from tests.support.factories import an_organization, keys_of, unique


async def test_the_same_request_again_gets_the_same_answer_and_posts_nothing(
    working_api: Api,
) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    first, again = [await post(api.operator, org_id, wanted(), key) for _ in range(2)]
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert len(await keys_of(api.engine, org_id)) == 1
    assert await balance(api, org_id) == 2500


async def test_twenty_at_once_with_one_key_are_one(working_api: Api) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    answers = await asyncio.gather(*(post(api.operator, org_id, wanted(), key) for _ in range(20)))
    made = [one.content for one in answers if one.status_code == 201]
    assert len(set(made)) == 1
    for other in answers:
        if other.status_code != 201:
            problem(other, 409, "idempotency_key_in_use")
    assert (await post(api.operator, org_id, wanted(), key)).content == made[0]
    assert len(await keys_of(api.engine, org_id)) == 1
    assert await balance(api, org_id) == 2500


@pytest.mark.parametrize("other", [{"amount_minor": 2501}, {"reason": "Another"}, {"actor": "Bob"}])
async def test_another_request_under_the_same_key_is_a_conflict_and_does_nothing(
    working_api: Api, other: dict[str, object]
) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    await post(api.operator, org_id, wanted(), key)
    answer = await post(api.operator, org_id, {**wanted(), **other}, key)
    told = problem(answer, 409, "idempotency_key_reused")
    assert told["title"] == "Idempotency-Key is already used"
    elsewhere = await post(api.operator, await an_organization(api.engine), wanted(), key)
    problem(elsewhere, 409, "idempotency_key_reused")
    assert await balance(api, org_id) == 2500


async def test_a_request_is_the_same_however_it_is_written(working_api: Api) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    first = await post(api.operator, org_id, wanted(), key)
    body = dict(reversed(wanted(account="adjustments", allow_below_limit=False).items()))
    assert (await post(api.operator, org_id, body, key)).content == first.content


async def test_keys_of_two_callers_have_nothing_to_do_with_each_other(working_api: Api) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    other = await another_operator(api)
    first, second = [await post(one, org_id, wanted(), key) for one in (api.operator, other)]
    assert first.json()["adjustment_id"] != second.json()["adjustment_id"]
    assert await balance(api, org_id) == 5000


def names_the_same_entry(again: dict[str, Any], first: dict[str, Any]) -> None:
    """The first answer is lost, so this is another: what was asked for had been done before."""
    entry = first["posting"]["entry"]
    assert again["posting"]["outcome"] == "duplicate"
    assert again["posting"]["entry"] == entry
    assert again["posting"]["balance_after"] == entry["balance_after"]
    assert {**again, "posting": None} == {**first, "posting": None}


async def test_a_crash_between_the_entry_and_the_answer_doubles_nothing(working_api: Api) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    first = await post(api.operator, org_id, wanted(), key)
    await lose_the_answer(api, key)
    again = await post(api.operator, org_id, wanted(), key)
    assert again.status_code == 201
    names_the_same_entry(again.json(), first.json())
    assert len(await keys_of(api.engine, org_id)) == 1
    assert await balance(api, org_id) == 2500


async def test_after_a_crash_only_the_same_request_may_go_on_and_only_after_a_while(
    working_api: Api,
) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    await post(api.operator, org_id, wanted(), key)
    await lose_the_answer(api, key, claimed_seconds=60)
    problem(await post(api.operator, org_id, wanted(), key), 409, "idempotency_key_in_use")
    await lose_the_answer(api, key)
    other = await post(api.operator, org_id, wanted(amount_minor=1), key)
    problem(other, 409, "idempotency_key_reused")
    assert (await post(api.operator, org_id, wanted(), key)).status_code == 201


async def test_a_crash_while_it_waits_leaves_one_that_waits(working_api: Api) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    first = await post(api.operator, org_id, wanted(amount_minor=BIG), key)
    await lose_the_answer(api, key)
    again = await post(api.operator, org_id, wanted(amount_minor=BIG), key)
    assert (again.status_code, again.json()) == (202, first.json())
    await say(await another_operator(api), first.json(), "approve")
    assert (await post(api.operator, org_id, wanted(amount_minor=BIG), key)).json() == first.json()
    assert await balance(api, org_id) == BIG


async def test_what_was_refused_may_be_asked_again_with_the_same_key(api: Api) -> None:
    """A refusal has moved nothing, so it is not kept; and here nobody works."""
    key, org_id = unique("key"), unique("org")
    for _ in range(2):
        problem(await post(api.operator, org_id, wanted(), key), 404, "not_found")
    await an_organization(api.engine, org_id=org_id)
    answer = await post(api.operator, org_id, wanted(), key)
    told = problem(answer, 503, "temporal_unavailable")
    assert "no worker is running, so nothing was adjusted" in told["detail"]


async def test_money_is_not_moved_without_a_key(api: Api) -> None:
    org_id = await an_organization(api.engine)
    path = f"/v1/organizations/{org_id}/adjustments"
    told = problem(await api.operator.post(path, json=wanted()), 400, "idempotency_key_missing")
    assert told["title"] == "Idempotency-Key is missing"
    assert "Idempotency-Key header of your own making" in told["detail"]


@pytest.mark.parametrize("key", ["a" * 256, "a b", "é"])
async def test_a_key_that_cannot_be_is_invalid(api: Api, key: str) -> None:
    org_id = await an_organization(api.engine)
    path = f"/v1/organizations/{org_id}/adjustments"
    headers = httpx.Headers({"Idempotency-Key": key}, encoding="utf-8")
    answer = await api.operator.post(path, json=wanted(), headers=headers)
    [error] = problem(answer, 422, "invalid")["errors"]
    assert error["at"] == "header.Idempotency-Key"


async def test_a_key_whose_answer_was_deleted_long_ago_still_names_its_adjustment(
    working_api: Api,
) -> None:
    api, key = working_api, unique("key")
    org_id = await an_organization(api.engine)
    first = await post(api.operator, org_id, wanted(), key)
    async with api.engine.begin() as connection:
        await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.key == key))
    problem(await post(api.operator, org_id, wanted(amount_minor=1), key), 409, "conflict")
    async with api.engine.begin() as connection:
        await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.key == key))
    names_the_same_entry((await post(api.operator, org_id, wanted(), key)).json(), first.json())
    assert await balance(api, org_id) == 2500
