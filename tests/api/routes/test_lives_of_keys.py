"""How long keys live: until they expire, until they are rotated; and when they were last used."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from billing.organizations import LONGEST_LIFE, LONGEST_OVERLAP, OVERLAP, Scope
from store.organizations import api_keys as keys
from store.schema import api_keys, idempotency_keys
from tests.support.adjustments import lose_the_answer, post, wanted
from tests.support.answers import eventually, problem
from tests.support.api_server import Api
from tests.support.factories import an_organization, now, unique
from tests.support.keys import expire, key_of, made, revoked, rotate, rotated, row_of, set_row

READS = "/v1/organizations"


def written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


async def is_let_in(client: httpx.AsyncClient) -> bool:
    """Whether a key opens anything: no key may do without an id, but some are told so by 403."""
    status = (await client.get(READS)).status_code
    assert status in (200, 401, 403)
    return status != 401


async def listed(client: httpx.AsyncClient, key_id: str) -> dict[str, Any]:
    after = {"cursor": key_id[:-1]}
    items = (await client.get("/v1/api-keys", params=after)).raise_for_status().json()["items"]
    return next(one for one in items if one["key_id"] == key_id)


# ---- expiry


async def test_a_key_opens_nothing_from_the_moment_on_at_which_it_expires(api: Api) -> None:
    moment = await now(api.engine) + timedelta(days=1)
    issued = await made(api.operator, scope="read", expires_at=written(moment))
    assert datetime.fromisoformat(issued["api_key"]["expires_at"]) == moment
    client = api.with_key(issued["secret"])
    assert await is_let_in(client)
    await expire(api.engine, issued["api_key"]["key_id"])
    refused = problem(await client.get(READS), 401, "unauthorized")
    assert refused["detail"] == "the API key is unknown, revoked or expired"


@pytest.mark.parametrize("away", [timedelta(seconds=-1), LONGEST_LIFE + timedelta(minutes=5)])
async def test_no_key_is_made_for_the_past_or_for_ever(api: Api, away: timedelta) -> None:
    new = {"label": "a test's", "expires_at": written(await now(api.engine) + away)}
    problem(await api.operator.post("/v1/api-keys", json=new), 422, "invalid_expiry")
    own = key_of(await api.client())
    answer = await rotate(api.operator, own, expires_at=new["expires_at"])
    problem(answer, 422, "invalid_expiry")


async def test_no_key_outlives_the_one_that_it_is_made_with(api: Api) -> None:
    """Or a key for a day would be one for ever."""
    moment = await now(api.engine) + timedelta(days=1)
    maker = await api.client(expires_at=moment)
    child = (await made(maker))["api_key"]
    assert datetime.fromisoformat(child["expires_at"]) == moment
    later = written(moment + timedelta(seconds=1))
    new = {"label": "for ever", "expires_at": later}
    problem(await maker.post("/v1/api-keys", json=new), 422, "invalid_expiry")
    for key_id in (key_of(maker), key_of(await api.client())):
        problem(await rotate(maker, key_id, expires_at=later), 422, "invalid_expiry")
    itself = await rotated(api, maker, key_of(maker))
    assert (await row_of(api.engine, key_of(itself))).expires_at == moment
    other = await rotated(api, itself, key_of(await api.client()))
    assert (await row_of(api.engine, key_of(other))).expires_at == moment


async def test_a_scope_is_one_of_its_owner(api: Api) -> None:
    org_id = await an_organization(api.engine)
    for new in ({"scope": "full"}, {"org_id": org_id, "scope": "operator"},
                {"org_id": org_id, "scope": "metrics"}, {"scope": "organization"}):  # fmt: skip
        answer = await api.operator.post("/v1/api-keys", json={"label": "a test's", **new})
        problem(answer, 422, "invalid")


# ---- rotation


async def test_a_rotated_key_is_as_the_one_before_it_which_goes_on_for_a_while(api: Api) -> None:
    org_id = await an_organization(api.engine)
    for owner, scope in ((None, "operator"), (None, "metrics"), (org_id, "full"), (org_id, "read")):
        old = (await made(api.operator, org_id=owner, scope=scope, label=scope))["api_key"]
        before = await now(api.engine)
        answer = (await rotate(api.operator, old["key_id"])).json()
        new, after = answer["api_key"], await now(api.engine)
        assert (new["scope"], new["org_id"], new["label"]) == (scope, owner, scope)
        assert (new["replaces"], new["made_by"]) == (old["key_id"], key_of(api.operator))
        assert new["expires_at"] is None
        assert await is_let_in(api.with_key(answer["secret"]))
        ends = (await row_of(api.engine, old["key_id"])).expires_at
        assert before + OVERLAP <= ends <= after + OVERLAP


async def test_both_keys_are_good_until_the_overlap_is_over(api: Api) -> None:
    old = await api.client(scope=Scope.READ)
    new = await rotated(api, old, key_of(old), overlap_seconds=60)
    assert await is_let_in(old)
    assert await is_let_in(new)
    await expire(api.engine, key_of(old))
    assert not await is_let_in(old)
    assert await is_let_in(new)
    last = await rotated(api, new, key_of(new), overlap_seconds=0)
    assert not await is_let_in(new)
    assert await is_let_in(last)


async def test_an_overlap_gives_no_key_a_longer_life(api: Api) -> None:
    moment = await now(api.engine) + timedelta(minutes=1)
    old = await api.client(scope=Scope.READ, expires_at=moment)
    await rotated(api, api.operator, key_of(old), expires_at=written(moment + timedelta(days=9)))
    assert (await row_of(api.engine, key_of(old))).expires_at == moment


@pytest.mark.parametrize("wrong", [-1, int(LONGEST_OVERLAP.total_seconds()) + 1, "60", None])
async def test_an_overlap_has_bounds(api: Api, wrong: object) -> None:
    answer = await rotate(api.operator, key_of(await api.client()), overlap_seconds=wrong)
    problem(answer, 422, "invalid")


async def test_any_key_rotates_itself_and_only_some_rotate_others(api: Api) -> None:
    org_id, elsewhere = await an_organization(api.engine), await an_organization(api.engine)
    full, other = await api.tenant(org_id), await api.tenant(elsewhere)
    reader = await api.client(org_id, Scope.READ)
    weak = [await api.client(scope=scope) for scope in (Scope.SUPPORT, Scope.READ, Scope.METRICS)]
    for client in (*weak, reader):
        for victim in (key_of(api.operator), key_of(full), unique("key")):
            problem(await rotate(client, victim), 403, "forbidden")
        assert await is_let_in(await rotated(api, client, key_of(client)))
    for victim in (key_of(api.operator), key_of(weak[0]), key_of(other), unique("key")):
        problem(await rotate(full, victim), 404, "not_found")
    again = await rotated(api, full, key_of(await api.client(org_id, Scope.READ)))
    problem(await again.post(f"/v1/organizations/{org_id}/checkout-sessions"), 403, "forbidden")


async def test_the_same_rotation_again_makes_no_second_key_and_shows_no_secret(api: Api) -> None:
    """It is kept nowhere: not with the answers that are kept either."""
    old, once = await api.client(scope=Scope.READ), unique("once")
    answers = await asyncio.gather(*(rotate(old, key_of(old), once=once) for _ in range(4)))
    done = [one.json() for one in answers if one.status_code == 201]
    shown = [one["secret"] for one in done if one["secret"] is not None]
    for one in answers:
        assert one.status_code in (201, 409), one.text
    again = (await rotate(old, key_of(old), once=once)).json()
    assert (again["api_key"], again["secret"]) == (done[0]["api_key"], None)
    assert len(shown) == 1
    async with api.engine.connect() as connection:
        kept = select(idempotency_keys.c.body).where(idempotency_keys.c.key == once)
        assert shown[0].split("_", 2)[2] not in str(await connection.scalar(kept))
        of_old = select(api_keys.c.key_id).where(api_keys.c.replaces == key_of(old))
        assert len((await connection.scalars(of_old)).all()) == 1


async def test_a_rotation_whose_answer_was_lost_is_not_done_twice(api: Api) -> None:
    old, once = await api.client(scope=Scope.READ), unique("once")
    first = (await rotate(old, key_of(old), once=once)).json()
    async with api.engine.begin() as connection:
        await connection.execute(idempotency_keys.delete().where(idempotency_keys.c.key == once))
    again = (await rotate(old, key_of(old), once=once)).json()
    assert again == {"api_key": first["api_key"], "secret": None}


async def test_a_rotation_moves_no_money_twice(working_api: Api) -> None:
    """Who asks again with the new key, for want of an answer, asks for the same."""
    api, once = working_api, unique("once")
    org_id, old = await an_organization(api.engine), await api.client()
    first = (await post(old, org_id, wanted(), once)).json()
    new = await rotated(api, old, key_of(old))
    assert (await post(new, org_id, wanted(), once)).json() == first
    await lose_the_answer(api, once)
    again = (await post(new, org_id, wanted(), once)).json()
    assert again["posting"]["outcome"] == "duplicate"
    assert again["adjustment_id"] == first["adjustment_id"]


async def test_a_key_that_is_replaced_makes_no_other_in_its_place(api: Api) -> None:
    """Whoever has stolen it would have a new one when its time is over."""
    old = await api.client(scope=Scope.READ)
    new = await rotated(api, old, key_of(old))
    for client in (old, api.operator):
        told = problem(await rotate(client, key_of(old)), 409, "conflict")
        assert key_of(new) in told["detail"]
    newest = await rotated(api, new, key_of(new))
    await revoked(api, key_of(new))
    told = problem(await rotate(old, key_of(old)), 409, "conflict")
    assert key_of(newest) in told["detail"]
    await revoked(api, key_of(newest))
    assert await is_let_in(await rotated(api, old, key_of(old)))


async def test_what_has_ended_is_not_rotated(api: Api) -> None:
    for end in (expire, lambda _, key_id: revoked(api, key_id)):
        old = key_of(await api.client())
        await end(api.engine, old)
        problem(await rotate(api.operator, old), 409, "conflict")
    problem(await rotate(api.operator, unique("key")), 404, "not_found")


async def test_of_rotations_at_once_one_is_done(api: Api) -> None:
    old = await api.client(scope=Scope.READ)
    answers = await asyncio.gather(*(rotate(old, key_of(old)) for _ in range(5)))
    assert sorted(one.status_code for one in answers) == [201, 409, 409, 409, 409]


# ---- an organisation's own


async def test_an_organisation_keeps_its_own_keys(api: Api) -> None:
    org_id, elsewhere = await an_organization(api.engine), await an_organization(api.engine)
    full, other = await api.tenant(org_id), await api.tenant(elsewhere)
    reader = await made(full, org_id=org_id, scope="read")
    assert reader["api_key"]["made_by"] == key_of(full)
    client = api.with_key(reader["secret"])
    assert (await client.get(f"/v1/organizations/{org_id}/wallet")).is_success
    for new in ({"org_id": org_id}, {"org_id": elsewhere, "scope": "read"}, {"scope": "read"}):
        answer = await full.post("/v1/api-keys", json={"label": "more", **new})
        problem(answer, 403, "forbidden")
    items = (await full.get("/v1/api-keys")).json()["items"]
    assert {one["key_id"] for one in items} == {key_of(full), reader["api_key"]["key_id"]}
    problem(await client.get("/v1/api-keys"), 403, "forbidden")
    for victim in (key_of(other), key_of(api.operator), unique("key")):
        problem(await full.delete(f"/v1/api-keys/{victim}"), 404, "not_found")
    assert (await full.delete(f"/v1/api-keys/{key_of(client)}")).status_code == 204
    assert not await is_let_in(client)


# ---- last used


async def is_noted(api: Api, client: httpx.AsyncClient) -> bool:
    return (await row_of(api.engine, key_of(client))).last_used_at is not None


async def test_when_a_key_was_last_used_is_told_to_the_hour(api: Api) -> None:
    client = await api.client(scope=Scope.READ)
    assert not await is_noted(api, client)
    assert await is_let_in(client)
    await eventually(lambda: is_noted(api, client))
    first = (await listed(api.operator, key_of(client)))["last_used_at"]
    assert first is not None
    assert await is_let_in(client)
    assert (await listed(api.operator, key_of(client)))["last_used_at"] == first
    assert not await is_noted(api, await api.client()), "nobody has used it"


async def test_a_use_is_written_once_an_hour_however_many_ask(api: Api) -> None:
    client = await api.client()
    hour = timedelta(hours=1)
    for before, is_written in ((hour * 0.9, False), (hour * 1.1, True)):
        moment = await now(api.engine) - before
        await set_row(api.engine, key_of(client), last_used_at=moment)
        async with api.engine.begin() as connection:
            await keys.used(connection, key_of(client))
        after = (await row_of(api.engine, key_of(client))).last_used_at
        assert (after != moment) == is_written


async def test_no_request_waits_until_its_use_is_written_down(api: Api) -> None:
    client = await api.client(scope=Scope.READ)
    async with api.engine.begin() as holder:
        row = select(api_keys).where(api_keys.c.key_id == key_of(client)).with_for_update()
        await holder.execute(row)
        assert await is_let_in(client)
        other = await api.client(scope=Scope.READ)
        assert await is_let_in(other)
        await eventually(lambda: is_noted(api, other))
    assert not await is_noted(api, client), "it did not wait for the row either"


async def test_a_use_that_cannot_be_written_down_is_a_use(api: Api) -> None:
    client = await api.client(scope=Scope.READ)
    refuse = (
        "CREATE TRIGGER refuses BEFORE UPDATE ON api_keys FOR EACH ROW"
        f" WHEN (NEW.key_id = '{key_of(client)}') EXECUTE FUNCTION refuse_change()"
    )
    async with api.engine.begin() as connection:
        await connection.execute(text(refuse))
    try:
        assert await is_let_in(client)
        other = await api.client(scope=Scope.READ)
        assert await is_let_in(other)
        await eventually(lambda: is_noted(api, other))
        assert not await is_noted(api, client)
    finally:
        async with api.engine.begin() as connection:
            await connection.execute(text("DROP TRIGGER refuses ON api_keys"))
