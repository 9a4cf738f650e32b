"""When `python -m api` starts, and when it had better not."""

import asyncio
import json
import resource
import socket
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import worker
from api.__main__ import _that_fit
from billing.ledger.entry import call_key, payment_credit_key
from devstack import programs
from devstack.process import environment
from devstack.programs import python
from devstack.stack import Stack
from environment import WrongSetting
from settings import ApiSettings
from store.database.migrate import upgrade
from tests.conftest import NewDatabase
from tests.support.answers import accepted
from tests.support.api_process import NOBODY_LISTENS, api_process, api_that_ends
from tests.support.api_server import new_operator_key
from tests.support.checkout_clicks import opened
from tests.support.command_line import callwallet, flat
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, keys_of
from tests.support.forks import FORKS
from tests.support.old_server import is_made_old
from tests.support.signed_webhooks import Webhook, call_id_of, report, signed_by_stripe, with_header
from tests.support.stand_ins import StripeStandIn
from tests.support.systems import url_of

DATABASE_GONE = {"DATABASE_URL": f"postgresql://postgres:x@{NOBODY_LISTENS}/callwallet"}
TEMPORAL_GONE = {"TEMPORAL_ADDRESS": NOBODY_LISTENS}


def signed(stack: Stack, webhook: Webhook) -> Webhook:
    return with_header(webhook, stack.settings()["VAPI_WEBHOOK_SECRET"].encode())


async def send(url: str, webhook: Webhook) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        path = f"/webhooks/{webhook.source}"
        return await http.post(path, content=webhook.body, headers=dict(webhook.headers))


async def get(url: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        return await http.get(path)


@pytest.mark.usefixtures("worker")
async def test_without_a_key_of_any_provider_it_takes_a_call_and_a_checkout_through(
    stack: Stack, engine: AsyncEngine, stripe: StripeStandIn, tmp_path: Path
) -> None:
    told = programs.told(ApiSettings, stack.settings())
    assert told.keys() & {"STRIPE_API_KEY", "VAPI_API_KEY", "SLACK_WEBHOOK_URL"} == set()
    org_id = await an_organization(engine, 10_000)
    call = report(await an_assistant(engine, org_id), 60)
    key = {"Authorization": f"Bearer {await new_operator_key(engine)}"}
    origins = {"CHECKOUT_RETURN_ORIGINS": "https://app.example"}
    async with (
        api_process(tmp_path, told | origins) as url,
        httpx.AsyncClient(base_url=url, headers=key, trust_env=False, timeout=30) as operator,
    ):
        assert accepted(await send(url, signed(stack, call))) == "accepted"
        session, before = await opened(operator, org_id), await stripe.make_event()
        payment_id = await stripe.pay(session["session_id"])
        for event in await stripe.events_after(before):
            secret = stack.settings()["STRIPE_WEBHOOK_SECRET"].encode()
            webhook = signed_by_stripe(json.dumps(event).encode(), event["id"], secret)
            assert accepted(await send(url, webhook)) in ("accepted", "ignored")
        wanted = {call_key(call_id_of(call)), payment_credit_key(payment_id)}

        async def both_are_booked() -> bool:
            return wanted <= set(await keys_of(engine, org_id))

        assert await eventually(both_are_booked)
        assert (await operator.get("/health/ready")).json()["warnings"] == []


@pytest.mark.usefixtures("engine", "temporal")
async def test_it_starts_without_postgresql_and_takes_calls(stack: Stack, tmp_path: Path) -> None:
    async with api_process(tmp_path, {**stack.settings(), **DATABASE_GONE}) as url:
        answer = await send(url, signed(stack, report("nobody's", 60)))
        assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
        health = await get(url, "/health")
        assert (health.status_code, health.json()["status"]) == (503, "error")
        assert health.json()["services"]["database"] == "error"


@pytest.mark.usefixtures("engine")
async def test_it_starts_without_temporal_and_takes_calls(stack: Stack, tmp_path: Path) -> None:
    async with api_process(tmp_path, {**stack.settings(), **TEMPORAL_GONE}) as url:
        answer = await send(url, signed(stack, report("nobody's", 60)))
        assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
        health = await get(url, "/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert health.json()["services"]["temporal"] == "error"


async def test_it_starts_without_both_and_says_so(stack: Stack, tmp_path: Path) -> None:
    gone = {**stack.settings(), **DATABASE_GONE, **TEMPORAL_GONE}
    async with api_process(tmp_path, gone) as url:
        answer = await send(url, signed(stack, report("nobody's", 60)))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        ready = await get(url, "/health/ready")
        assert ready.status_code == 503
        assert len(ready.json()["problems"]) == 2


@pytest.mark.parametrize("module", ["api", "worker"])
async def test_it_refuses_a_database_that_was_never_set_up(
    stack: Stack, new_database: NewDatabase, module: str
) -> None:
    url = (await new_database()).url.set(drivername="postgresql")
    env = {**stack.settings(), "DATABASE_URL": url.render_as_string(hide_password=False)}
    status, said = await api_that_ends(env | {"LOG_JSON": "true"}, module)
    assert status == 1
    lines = [json.loads(line) for line in said.splitlines()]
    assert "run `callwallet setup`" in lines[-1]["event"]
    assert not any("exception" in line for line in lines)


async def test_it_refuses_a_schema_from_the_future(stack: Stack, new_database: NewDatabase) -> None:
    engine = await new_database()
    await upgrade(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    status, said = await api_that_ends({**stack.settings(), "DATABASE_URL": url})
    assert status == 1
    assert "revision 9999" in said


@pytest.mark.parametrize("module", ["api", "worker"])
async def test_api_and_worker_refuse_a_server_that_is_too_old(
    stack: Stack, new_database: NewDatabase, module: str
) -> None:
    engine = await new_database()
    await is_made_old(engine)
    given = {**stack.settings(), "DATABASE_URL": url_of(engine)}
    status, said = await api_that_ends(given, module)
    assert status == 1
    assert "PostgreSQL 14.11 is too old: callwallet needs 15 or newer" in said


@pytest.mark.parametrize(
    ("name", "nothing"), [("STRIPE_WEBHOOK_SECRET", ""), ("VAPI_WEBHOOK_SECRET", " , ")]
)
async def test_it_refuses_to_start_without_a_secret_to_check_webhooks_by(
    stack: Stack, name: str, nothing: str
) -> None:
    status, said = await api_that_ends({**stack.settings(), name: nothing})
    assert status == 1
    assert "every webhook would be refused" in said
    assert stack.settings()["VAPI_WEBHOOK_SECRET"] not in said


async def test_a_worker_whose_key_is_not_of_stripe_s_mode_says_so_and_ends(stack: Stack) -> None:
    status, said = await that_ends({**stack.settings(), "STRIPE_MODE": "live"}, "worker")
    assert status == 1
    assert "STRIPE_MODE is live, but STRIPE_API_KEY is of test mode" in said.splitlines()[-1]
    assert stack.settings()["STRIPE_API_KEY"] not in said


@pytest.mark.parametrize(
    ("module", "name"), [("api", "VAPI_WEBHOOK_SECRET"), ("worker", "STRIPE_API_KEY")]
)
async def test_a_file_that_cannot_be_read_is_named_in_one_sentence(
    stack: Stack, module: str, name: str
) -> None:
    """Without its path, for that may be the secret itself."""
    env = {**stack.settings(), name: "", f"{name}_FILE": "XnowhereX"}
    status, said = await that_ends(env, module)
    assert status == 1
    assert f"{name}_FILE: the file cannot be read (No such file" in said.splitlines()[-1]
    assert "XnowhereX" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("module", "name", "as_json"),
    [
        ("api", "API_PORT", True),
        ("worker", "KEEP_BODIES_DAYS", False),
        ("api", "TEMPORAL_PROFILE", False),
    ],
)
async def test_a_setting_that_cannot_be_is_named_in_one_sentence(
    stack: Stack, module: str, name: str, *, as_json: bool
) -> None:
    env = {**stack.settings(), name: "99999", "LOG_JSON": str(as_json)}
    told = "Temporal's own environment" if name == "TEMPORAL_PROFILE" else f"{name}: "
    status, said = await that_ends(env, module)
    assert status == 1
    assert "Traceback" not in said
    last = said.splitlines()[-1]
    assert told in (json.loads(last)["event"] if as_json else last)


async def that_ends(env: Mapping[str, str], module: str) -> tuple[int | None, str]:
    """Run a module with just this environment; return its status and all that it said."""
    process = await FORKS.run(
        python(module), environment({"API_PORT": "0", **env}), stdout=PIPE, stderr=PIPE
    )
    try:
        logged, said = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, (logged + said).decode()


async def test_an_address_that_is_taken_is_named_in_one_sentence(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, said = await that_ends({**stack.settings(), "API_PORT": port}, "api")
    assert status == 1
    # Temporal's SDK may say more behind it, if it was asking when the process ended.
    assert f"API_HOST, API_PORT: it cannot listen at 127.0.0.1:{port}" in said
    assert "Traceback" not in said


async def test_a_worker_of_no_queue_is_told_so() -> None:
    with pytest.raises(WrongSetting, match="no task queue nobodys"):
        await worker.main("nobodys")


def test_a_process_may_open_as_many_files_as_it_has_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        assert _that_fit(400) == 400
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 600
        if hard != resource.RLIM_INFINITY:
            assert _that_fit(hard) == hard - 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_secret_that_somebody_might_guess_is_named_in_the_log(
    stack: Stack, new_database: NewDatabase
) -> None:
    """By the two that have some; `setup` has none, and says so of what it has."""
    url = (await new_database()).url.set(drivername="postgresql")
    weak = {"VAPI_WEBHOOK_SECRET": "XshortX", "VAPI_API_KEY": "XshortX"}
    env = {**stack.settings(), "DATABASE_URL": url.render_as_string(hide_password=False), **weak}
    for module, name in (("api", "VAPI_WEBHOOK_SECRET"), ("worker", "VAPI_API_KEY")):
        _, said = await that_ends(env, module)
        told = {one for one in weak if f"{one} holds a secret of fewer than 16 characters" in said}
        assert told == {name}
        assert "XshortX" not in said
    gone = {"DATABASE_URL": f"postgresql://postgres@{NOBODY_LISTENS}/callwallet"}
    ended = await callwallet(env | gone | {"TEMPORAL_API_KEY": "XshortX"}, "setup")
    assert "TEMPORAL_API_KEY holds a secret of fewer than 16 characters" in flat(ended)
    assert "VAPI" not in flat(ended)
