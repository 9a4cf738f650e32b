"""`callwallet admin-log`: the book of powers in a shell, and what the commands write into it."""

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from devstack.stack import Stack
from tests.conftest import NewDatabase
from tests.support.admin_log import told
from tests.support.command_line import Env, callwallet
from tests.support.factories import an_organization
from tests.support.parked_workflows import calls_that_wait


@pytest.fixture
def env(stack: Stack, worker: Client) -> Env:
    return stack.settings()


async def test_what_commands_change_stands_in_the_book_and_is_shown(
    env: Env, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    caps = ("recharges", "caps", org_id, "--charge-minor", "80000", "--day-minor", "200000")
    set_caps = await callwallet(env, *caps, "--as", "ana", "--note", "ticket 4711")
    assert set_caps.status == 0, set_caps.said
    made = await callwallet(env, "keys", "create", "--org", org_id, "--label", "a portal")
    secret = made.output.strip()
    ended = await callwallet(env, "admin-log", "--org", org_id, "--json")
    assert ended.status == 0, ended.said
    key, caps_line = json.loads(ended.output)
    assert (caps_line["action"], caps_line["by"]) == (
        "caps_changed", {"key_id": None, "label": "cli", "name": "ana"},
    )  # fmt: skip
    assert (key["action"], key["subject_id"]) == ("key_made", secret.split("_")[1])
    assert (key["by"]["label"], secret.split("_", 2)[2] in ended.output) == ("cli", False)
    shown = (await callwallet(env, "admin-log", "--org", org_id, "--action", "caps_changed")).output
    assert f"ana, cli: caps_changed {org_id}" in shown
    assert "charge_minor=80000" in shown


async def test_a_decision_by_the_command_is_one_line_by_who_is_named(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    _, [one] = await calls_that_wait(worker, engine, 1)
    said = ("--as", "ana", "--note", "a test call")
    ended = await callwallet(env, "parked", "discard", one.id, *said)
    assert ended.status == 0, ended.said
    assert await written(env, "--subject", one.id) == [
        ("parked_discarded", "cli", "ana", "ana: a test call")
    ]


async def test_a_decision_about_many_by_the_command_is_one_line(
    env: Env, engine: AsyncEngine, worker: Client
) -> None:
    org_id, handles = await calls_that_wait(worker, engine, 2)
    said = ("--as", "ana", "--note", "a load test", "--yes", "--json")
    ended = await callwallet(env, "parked", "discard", "--org", org_id, *said)
    assert ended.status == 0, ended.said
    assert await written(env, "--org", org_id) == [
        ("bulk_decided", "cli", "ana", "ana: a load test")
    ]
    assert await written(env, "--subject", handles[0].id) == []


async def test_what_setup_sets_stands_there_once(
    stack: Stack, env: Env, new_database: NewDatabase
) -> None:
    engine = await new_database()
    url = stack.postgres.url(str(engine.url.database))
    apart = {**env, "DATABASE_URL": url, "VAPI_FAULTS_FREE": "true"}
    for _ in range(2):
        ended = await callwallet(apart, "setup", "--example-tariffs")
        assert ended.status == 0, ended.said
    lines = await written(apart, "--limit", "1000")
    assert {by for _, by, *_ in lines} == {"setup"}
    actions = [action for action, *_ in lines]
    assert actions.count("free_calls_changed") == 1
    assert actions.count("tariff_added") + actions.count("sms_tariff_added") == len(lines) - 1 > 0
    await engine.dispose()


async def written(env: Env, *which: str) -> list[tuple[str, str, str, str]]:
    """Return what was done, by which program, by whom and why, newest first."""
    ended = await callwallet(env, "admin-log", *which, "--json")
    assert ended.status == 0, ended.said
    return [
        (one["action"], one["by"]["label"], one["by"]["name"], one["reason"])
        for one in json.loads(ended.output)
    ]


async def test_an_operator_key_by_the_command_is_told_but_the_very_first(
    env: Env, engine_apart: AsyncEngine, stack: Stack
) -> None:
    apart = {**env, "DATABASE_URL": stack.postgres.service_url(str(engine_apart.url.database))}
    keys = []
    for _ in range(2):
        made = await callwallet(apart, "keys", "create", "--operator", "--label", "ops")
        assert made.status == 0, made.said
        keys.append(made.output.strip().split("_")[1])
    assert await told(engine_apart, f"api-key/{keys[0]}") == []
    assert await told(engine_apart, f"api-key/{keys[1]}") == ["There is a new operator's key"]
