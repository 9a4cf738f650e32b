"""`callwallet recharges caps`: what a card is charged without a person, set from a shell."""

import json

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from devstack.stack import Stack
from tests.support.command_line import Env, callwallet, flat
from tests.support.factories import an_organization

SAID = ("--as", "ana", "--note", "ticket 4711")


@pytest.fixture
def env(stack: Stack, worker: Client) -> Env:
    return stack.settings()


async def test_caps_are_shown_set_and_set_back(env: Env, engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    command = ("recharges", "caps", org_id)
    assert "50000 a charge, 100000 a day" in (await callwallet(env, *command)).output
    wanted = ("--charge-minor", "80000", "--day-minor", "200000")
    ended = await callwallet(env, *command, *wanted, *SAID, "--json")
    assert ended.status == 0, ended.said
    shown = json.loads(ended.output)
    assert shown["caps"] == {"charge_minor": 80_000, "day_minor": 200_000}
    assert shown["said"]["who_and_why"] == "ana: ticket 4711"
    assert "80000 a charge" in (await callwallet(env, *command)).output
    back = await callwallet(env, *command, "--default", *SAID)
    assert "50000 a charge, 100000 a day, in minor units; ana: ticket 4711" in flat(back)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--charge-minor", "80000"), "give both"),
        (("--charge-minor", "1000001", "--day-minor", "1000001"), "--charge-minor is from"),
        (("--charge-minor", "5000", "--day-minor", "4000"), "--day-minor is from"),
        (("--default", "--day-minor", "4000"), "either --default or both caps"),
    ],
)
async def test_what_cannot_be_is_said(env: Env, asked: tuple[str, ...], told: str) -> None:
    ended = await callwallet(env, "recharges", "caps", "acme", *asked, *SAID)
    assert (ended.status, ended.output) == (2, "")
    assert told in flat(ended)


async def test_who_says_nothing_about_why_sets_nothing(env: Env) -> None:
    wanted = ("--charge-minor", "80000", "--day-minor", "200000")
    ended = await callwallet(env, "recharges", "caps", "acme", *wanted, "--as", "ana")
    assert (ended.status, "say who you are" in flat(ended)) == (2, True)
    ended = await callwallet(
        env, "recharges", "caps", "acme", "--default", "--as", "ana", "--note", "a\x1b[2J"
    )
    assert (ended.status, "one line, please" in flat(ended)) == (2, True)
