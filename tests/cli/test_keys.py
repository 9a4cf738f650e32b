"""`callwallet keys`: made, listed and rotated beside the database."""

import json
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.stack import Stack
from tests.support.command_line import callwallet, flat
from tests.support.factories import an_organization, now, unique
from tests.support.keys import id_of, row_of


async def keys(stack: Stack, *arguments: str) -> Any:
    """Run a command that must go well; return what it prints for programs."""
    ended = await callwallet(stack.settings(), "keys", *arguments)
    assert ended.status == 0, ended.said
    return ended


async def listed(stack: Stack, *arguments: str) -> dict[str, dict[str, Any]]:
    ended = await keys(stack, "list", "--json", *arguments)
    return {one["key_id"]: one for one in json.loads(ended.output)}


async def test_keys_are_made_listed_and_rotated(stack: Stack, engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    until = await now(engine) + timedelta(days=30)
    made = await keys(
        *(stack, "create", "--org", org_id, "--label", "Acme's reports"),
        *("--scope", "read", "--expires", f"{until:%Y-%m-%dT%H:%M:%SZ}"),
    )
    key_id = id_of(made.output)
    key = (await listed(stack, "--org", org_id))[key_id]
    assert (key["scope"], key["label"], key["made_by"]) == ("read", "Acme's reports", None)
    rotated = await keys(stack, "rotate", key_id, "--overlap", "2h")
    assert f"{key_id} goes on until" in flat(rotated)
    both = await listed(stack, "--org", org_id)
    new = both[id_of(rotated.output)]
    assert both.keys() == {key_id, new["key_id"]}
    assert (new["scope"], new["replaces"], new["label"]) == ("read", key_id, "Acme's reports")
    assert new["expires_at"] == key["expires_at"]
    ends = (await row_of(engine, key_id)).expires_at
    assert abs(ends - await now(engine) - timedelta(hours=2)) < timedelta(minutes=5)
    shown = flat(await keys(stack, "list", "--org", org_id))
    for one in (key_id, f"in place of {key_id}", f"{ends:%Y-%m-%d %H:%M} UTC", "Acme's reports"):
        assert one in shown


async def test_what_cannot_be_is_said_in_one_sentence(stack: Stack, engine: AsyncEngine) -> None:
    org_id, label = await an_organization(engine), ("--label", "a test's")
    key_id = id_of((await keys(stack, "create", "--operator", *label)).output)
    await keys(stack, "rotate", key_id, "--overlap", "0s")
    for arguments, told in {
        ("create", "--operator", "--scope", "full", *label): "--scope full is not one of",
        ("create", "--org", org_id, "--scope", "metrics", *label): "--scope metrics is not one of",
        ("create", "--org", unique("org"), *label): "there is no organization",
        ("create", "--operator", "--expires", "2020-01-01", *label): "within 730 days from now",
        ("create", "--operator", "--expires", "soon", *label): "is neither a date",
        ("rotate", unique("key")): "there is no key",
        ("rotate", key_id): "is revoked or has expired",
        ("rotate", key_id, "--overlap", "8d"): "--overlap is 7d at most",
    }.items():
        ended = await callwallet(stack.settings(), "keys", *arguments)
        assert ended.status == 2, ended
        assert told in flat(ended), flat(ended)
        assert ended.output == ""
