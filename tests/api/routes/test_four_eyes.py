"""One person with one key tries to approve what they ask for, by way of other keys."""

import secrets
from datetime import timedelta

import httpx
import pytest

from billing.organizations import Rotation, Scope
from store.organizations import api_keys
from tests.support.adjustments import another_operator, pending, say
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import an_organization
from tests.support.keys import grow_old, key_of, made, rotated


@pytest.fixture
async def operator(working_api: Api) -> httpx.AsyncClient:
    """A client of an operator who has nothing to do with any other."""
    return await another_operator(working_api)


async def child_of(api: Api, client: httpx.AsyncClient) -> httpx.AsyncClient:
    return api.with_key((await made(client))["secret"])


async def renewed(api: Api, client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Let a key rotate itself."""
    return await rotated(api, client, key_of(client))


async def none_of_them_approves(api: Api, *clients: httpx.AsyncClient) -> None:
    """Ask with each key, and try to approve with all; all are older than what is asked for."""
    await grow_old(api.engine, *{key_of(one) for one in clients})
    org_id = await an_organization(api.engine)
    for asks in clients:
        waits = await pending(asks, org_id)
        for approves in clients:
            problem(await say(approves, waits, "approve"), 403, "same_operator")
        assert (await say(asks, waits, "reject")).json()["state"] == "rejected"


async def test_a_key_and_those_that_replace_it_are_one_person_s(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    second = await renewed(working_api, operator)
    third = await renewed(working_api, second)
    await none_of_them_approves(working_api, operator, second, third)


async def test_what_was_made_before_a_rotation_or_after_it_is_that_person_s(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    api = working_api
    child = await child_of(api, operator)
    second = await renewed(api, operator)
    other_child = await child_of(api, second)
    renewed_child = await renewed(api, child)
    grandchild = await child_of(api, renewed_child)
    await none_of_them_approves(
        api, operator, child, second, other_child, renewed_child, grandchild
    )


async def test_two_keys_that_one_person_has_made_are_that_person_s(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    """Whoever has made both has seen both secrets, whomever they were handed to."""
    api = working_api
    first, second = await child_of(api, operator), await child_of(api, operator)
    await none_of_them_approves(api, first, second, await child_of(api, second))


async def test_who_rotates_the_key_of_another_has_that_person_s_key(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    """And so asks with neither what the other approves, nor the other way round."""
    api, victim = working_api, await another_operator(working_api)
    stolen = await rotated(api, operator, key_of(victim))
    await none_of_them_approves(api, operator, victim, stolen)
    third = await another_operator(api)
    stolen_too = await rotated(api, stolen, key_of(third))
    await none_of_them_approves(api, operator, stolen_too, await renewed(api, stolen_too))


async def test_a_key_that_is_rotated_beside_the_database_is_the_same_person_s(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    api = working_api
    rotation = Rotation(secrets.token_hex(8), timedelta(days=1))
    async with api.engine.begin() as connection:
        _, secret = await api_keys.rotate(connection, key_of(operator), rotation)
    assert secret is not None
    await none_of_them_approves(api, operator, api.with_key(secret))


async def test_a_rotated_key_is_as_young_as_it_looks(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    """The key before it still approves, for as long as it goes on."""
    api = working_api
    waits = await pending(api.operator, await an_organization(api.engine))
    young = await renewed(api, operator)
    told = problem(await say(young, waits, "approve"), 403, "same_operator")
    assert "younger than the request" in told["detail"]
    assert (await say(operator, waits, "approve")).json()["state"] == "applied"


async def test_two_operators_who_have_rotated_the_same_key_of_another_kind_are_two(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    api, other = working_api, await another_operator(working_api)
    org_id = await an_organization(api.engine)
    for key in (await api.tenant(org_id), await api.client(scope=Scope.METRICS)):
        once = await rotated(api, operator, key_of(key))
        await rotated(api, other, key_of(once))
    waits = await pending(operator, org_id)
    assert (await say(other, waits, "approve")).json()["state"] == "applied"


async def test_the_sum_of_a_day_counts_all_keys_of_a_person_from_whichever_one_looks(
    working_api: Api, operator: httpx.AsyncClient
) -> None:
    """With the oldest first, by which they are made to wait for each other."""
    api = working_api
    first = await child_of(api, operator)
    second = await renewed(api, await child_of(api, operator))
    async with api.engine.connect() as connection:
        keys = [
            await api_keys.of_one_person(connection, key_of(client))
            for client in (operator, first, second)
        ]
    assert keys[0] == keys[1] == keys[2]
    assert keys[0][0] == key_of(operator)
    assert {key_of(first), key_of(second)} < set(keys[0])
