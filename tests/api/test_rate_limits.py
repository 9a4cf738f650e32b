"""How often callers may do what costs something: told by 429, and when to come again."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api import keys
from api.http.rate_limits import MOST_NAMES, RateLimit
from api.services import Limits
from store.database import engine as store_engine
from store.organizations import api_keys
from tests.support.answers import accepted, problem
from tests.support.api_server import LIMITS, Api, serving
from tests.support.eventually import eventually
from tests.support.factories import an_organization, unique
from tests.support.signed_webhooks import report

FEW = Limits(starts_per_minute=2, wrong_keys_per_minute=2)
STARTS = {
    "POST /v1/reconciliations": {"source": "nowhere"},
    "POST /v1/api-keys": {"label": ""},
    "POST /v1/organizations/{org_id}/checkout-sessions": {"amount_minor": 1},
    "POST /v1/bulk-decisions": {"verdict": "perhaps"},
    "PUT /v1/organizations/{org_id}/auto-recharge": {"enabled": "perhaps"},
}


def test_a_rate_lets_so_many_pass_at_once_and_then_one_by_one() -> None:
    for per_minute in (1, 2, 7, 30, 120):
        rate, now = RateLimit(per_minute), 1000.0
        assert [rate.take("a", now) for _ in range(per_minute)] == [0.0] * per_minute
        wait = rate.take("a", now)
        assert wait == pytest.approx(60 / per_minute)
        assert rate.take("a", now + wait / 2) > 0
        assert rate.take("a", now + wait) == 0.0
        assert rate.take("a", now + wait) > 0
        assert rate.take("b", now) == 0.0
        assert rate.take("a", now + 1000) == 0.0


def test_a_rate_forgets_whoever_has_done_nothing_for_longest() -> None:
    rate = RateLimit(1)
    for number in range(MOST_NAMES + 1):
        rate.take(str(number), 1000.0)
    assert rate.take("1", 1000.0) > 0
    assert rate.take("0", 1000.0) == 0.0


def test_who_is_patient_gets_a_turn_after_the_turns_of_those_before() -> None:
    rate = RateLimit(2, seconds=1.0)
    waits = [rate.take("a", 1000.0, patience=1.0) for _ in range(4)]
    assert waits == [0.0, 0.0, pytest.approx(0.5), pytest.approx(1.0)]
    assert rate.take("a", 1000.0, patience=1.0) == pytest.approx(1.5)
    assert rate.take("a", 1000.0, patience=1.0) == pytest.approx(1.5), "a refusal takes no turn"
    assert rate.take("a", 1000.5, patience=1.0) == pytest.approx(1.0)


@pytest.fixture(scope="module")
async def strict(api: Api) -> AsyncIterator[Api]:
    """An API that takes two of anything, and believes a proxy on this machine."""
    async with serving(
        api.engine, api.temporal, limits=FEW, trusted_proxies="127.0.0.1"
    ) as running:
        yield running


def too_many(answer: httpx.Response) -> None:
    problem(answer, 429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


@pytest.fixture(scope="module")
async def slow(api: Api) -> AsyncIterator[Api]:
    """An API that answers five requests a second of each key, and of each address without one."""
    few = replace(LIMITS, requests_per_second=5)
    async with serving(api.engine, api.temporal, limits=few, trusted_proxies="127.0.0.1") as it:
        yield it


async def test_a_key_that_asks_faster_than_it_may_is_answered_in_turn(slow: Api) -> None:
    tenant = await slow.tenant(await an_organization(slow.engine))
    assert (await tenant.get("/v1/reconciliations")).status_code == 200
    began = time.monotonic()
    for _ in range(9):
        assert (await tenant.get("/v1/reconciliations")).status_code == 200
    assert time.monotonic() - began >= (9 - 5) / 5


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, b"{"), (413, b"[" + b"0," * 600 + b"0]"), (413, b" " * 70_000), (422, b"{}")],
)
async def test_a_body_that_is_none_takes_ten_turns(slow: Api, status: int, body: bytes) -> None:
    org_id = await an_organization(slow.engine)
    tenant = await slow.tenant(org_id)
    assert (await tenant.get("/v1/reconciliations")).status_code == 200
    began = time.monotonic()
    path, headers = (
        f"/v1/organizations/{org_id}/checkout-sessions",
        {"content-type": "application/json"},
    )
    refused = await tenant.post(path, content=body, headers=headers)
    assert refused.status_code == status
    assert (await tenant.get("/v1/reconciliations")).status_code == 200
    assert time.monotonic() - began >= (10 + 1 - 5) / 5


async def test_a_key_that_floods_is_refused_beyond_two_seconds_of_turns_and_others_go_on(
    slow: Api,
) -> None:
    org_id = await an_organization(slow.engine)
    flood, other = await slow.tenant(org_id), await slow.tenant(org_id)
    assert (await flood.get("/v1/reconciliations")).status_code == 200
    asked = [asyncio.create_task(flood.get("/v1/reconciliations")) for _ in range(80)]
    assert (await other.get("/v1/reconciliations")).status_code == 200
    assert accepted(await slow.send(report())) == "accepted"
    answers = await asyncio.gather(*asked)
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 0 < len(refused) < 80
    for answer in refused:
        too_many(answer)
    assert (await other.get("/v1/reconciliations")).status_code == 200


@pytest.mark.parametrize("shown", [None, "no key at all", "cw_unknown_wrong"])
async def test_an_address_without_a_key_is_refused_in_turn_and_holds_up_no_good_one(
    slow: Api, shown: str | None
) -> None:
    address = {"X-Forwarded-For": f"192.0.2.{40 + len(shown or '')}"}
    headers = address | ({"Authorization": f"Bearer {shown}"} if shown else {})
    began = time.monotonic()
    for _ in range(8):
        answer = await slow.anonymous.get("/v1/organizations", headers=headers)
        problem(answer, 401, "unauthorized")
    assert time.monotonic() - began >= (8 - 5) / 5
    asked = [
        asyncio.create_task(slow.anonymous.get("/v1/organizations", headers=headers))
        for _ in range(60)
    ]
    new = await slow.tenant(await an_organization(slow.engine))
    assert (await new.get("/v1/reconciliations", headers=address)).status_code == 200
    answers = await asyncio.gather(*asked)
    assert {answer.status_code for answer in answers} == {401, 429}


@pytest.mark.parametrize("operation", STARTS)
async def test_one_key_may_start_so_much_of_one_kind_in_a_minute(
    strict: Api, operation: str
) -> None:
    """What is not valid counts as well: it is the asking that costs."""
    org_id = await an_organization(strict.engine)
    method, path = operation.format(org_id=org_id).split()
    other = await strict.tenant(org_id)
    for _ in range(2):
        answer = await strict.operator.request(method, path, json=STARTS[operation])
        problem(answer, 422, "invalid")
    too_many(await strict.operator.request(method, path, json=STARTS[operation]))
    assert (await strict.operator.get(f"/v1/organizations/{org_id}")).status_code == 200
    answer = await other.request(method, path, json=STARTS[operation])
    assert answer.status_code in (403, 422)


async def wrong(api: Api, address: str, key: str | None = None) -> httpx.Response:
    shown = key or f"cw_{unique('key')}_wrong"
    headers = {"Authorization": f"Bearer {shown}", "X-Forwarded-For": address}
    return await api.anonymous.get("/v1/organizations", headers=headers)


async def exhausted(api: Api, address: str) -> None:
    """Show wrong keys from an address until it is told to wait."""
    for _ in range(2):
        problem(await wrong(api, address), 401, "unauthorized")
    too_many(await wrong(api, address))


async def test_an_address_may_show_so_many_wrong_keys_and_others_are_not_held_to_it(
    strict: Api,
) -> None:
    await exhausted(strict, "192.0.2.1")
    too_many(await wrong(strict, "192.0.2.1", "no key at all"))
    problem(await wrong(strict, "192.0.2.2"), 401, "unauthorized")


async def test_a_network_of_ipv6_is_one_address(strict: Api) -> None:
    await exhausted(strict, "2001:db8:1:2::1")
    too_many(await wrong(strict, "2001:db8:1:2:ffff::2"))
    problem(await wrong(strict, "2001:db8:1:3::1"), 401, "unauthorized")


async def test_who_shows_no_key_is_only_told_so(strict: Api) -> None:
    for _ in range(5):
        problem(await strict.anonymous.get("/v1/organizations"), 401, "unauthorized")


async def test_a_good_key_is_never_refused_for_its_address(strict: Api) -> None:
    """Neither one that was good before, nor a new one, nor for reading metrics."""
    address = {"X-Forwarded-For": "192.0.2.10"}
    assert (await strict.operator.get("/v1/organizations", headers=address)).status_code == 200
    await exhausted(strict, "192.0.2.10")
    tenant = await strict.tenant(await an_organization(strict.engine))
    for client, path in (
        (strict.operator, "/v1/organizations"),
        (strict.operator, "/metrics"),
        (tenant, "/v1/reconciliations"),
    ):
        assert (await client.get(path, headers=address)).status_code == 200


async def test_webhooks_are_never_limited(strict: Api) -> None:
    await exhausted(strict, "192.0.2.20")
    for _ in range(5):
        webhook = report()
        headers = {**webhook.headers, "X-Forwarded-For": "192.0.2.20"}
        answer = await strict.anonymous.post(
            "/webhooks/vapi", content=webhook.body, headers=headers
        )
        assert accepted(answer) == "accepted"
    for _ in range(5):
        bad = await strict.anonymous.post("/webhooks/vapi", headers=address_and_wrong("192.0.2.21"))
        problem(bad, 401, "unauthorized")


def address_and_wrong(address: str) -> Mapping[str, str]:
    return {"X-Forwarded-For": address, "Authorization": "Bearer wrong"}


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
async def test_what_others_than_a_trusted_proxy_say_of_addresses_is_ignored(
    api: Api, trusted: str
) -> None:
    async with serving(api.engine, api.temporal, limits=FEW, trusted_proxies=trusted) as other:
        for address in ("192.0.2.1", "192.0.2.2"):
            problem(await wrong(other, address), 401, "unauthorized")
        too_many(await wrong(other, "192.0.2.3"))


async def test_what_a_client_has_put_before_the_proxy_s_own_word_is_ignored(strict: Api) -> None:
    for forged in ("192.0.2.31", "192.0.2.32"):
        problem(await wrong(strict, f"{forged}, 192.0.2.30"), 401, "unauthorized")
    too_many(await wrong(strict, "192.0.2.33, 192.0.2.30"))


async def test_a_revoked_key_is_wrong_at_once(strict: Api) -> None:
    async with strict.engine.begin() as connection:
        key, secret = await api_keys.issue(connection, "for a while", None)
    client = strict.with_key(secret)
    assert (await client.get("/v1/audits")).status_code == 200
    async with strict.engine.begin() as connection:
        await api_keys.revoke(connection, key.key_id)
    assert (await client.get("/v1/audits")).status_code == 401


_LOCK = text("LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE")
_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def test_wrong_keys_take_few_connections_and_none_of_the_webhooks(
    api: Api, engine_apart: AsyncEngine
) -> None:
    beside = store_engine.beside(engine_apart, application_name="tests", pool_size=2)
    async with serving(engine_apart, api.temporal) as slow:
        async with beside.begin() as locked, beside.connect() as looking:
            await locked.execute(_LOCK)
            asked = [asyncio.create_task(wrong(slow, "192.0.2.1")) for _ in range(20)]

            async def they_wait() -> bool:
                found = await looking.scalar(_WAITING)
                await looking.rollback()
                return bool(found == keys.UNKNOWN_AT_ONCE)

            await eventually(they_wait)
            await asyncio.sleep(0.1)
            assert await looking.scalar(_WAITING) == keys.UNKNOWN_AT_ONCE
            assert accepted(await slow.send(report())) == "accepted"
        answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} <= {401, 503}
    await beside.dispose()


async def test_only_so_many_wait_with_unknown_keys_and_the_rest_are_told_at_once(
    api: Api, engine_apart: AsyncEngine
) -> None:
    """A connection that waits for its turn lets none go: all of them would keep others out."""
    beside = store_engine.beside(engine_apart, application_name="tests", pool_size=1)
    async with serving(engine_apart, api.temporal) as slow:
        async with beside.begin() as locked:
            await locked.execute(_LOCK)
            asked = [asyncio.create_task(wrong(slow, "192.0.2.1")) for _ in range(90)]
            [first, *_], _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            answer = first.result()
            problem(answer, 503, "unavailable")
            assert "too many unknown keys" in answer.json()["detail"]
        await asyncio.gather(*asked)
    await beside.dispose()
