"""`callwallet admin-log`: the book of powers in a shell, and what the commands write into it."""

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from devstack.stack import Stack
from tests.support.admin_log import told
from tests.support.command_line import Env, callwallet
from tests.support.factories import an_organization


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
