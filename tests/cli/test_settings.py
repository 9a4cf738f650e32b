"""A command without the settings that it needs says which, and shows no secret."""

import pytest

from tests.support.api_process import NOBODY_LISTENS
from tests.support.command_line import callwallet, end, start_from_nothing

COMMANDS = [
    ("parked", "list"),
    ("reconcile", "vapi"),
    ("explain", "call:abc"),
    ("keys", "create", "--operator", "--label", "me"),
    ("setup",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_settings_that_are_missing_are_named_and_nothing_else_is_shown(
    command: tuple[str, ...],
) -> None:
    ended = await callwallet({}, *command)
    assert ended.status == 2
    assert "DATABASE_URL: Field required" in ended.said
    assert "Traceback" not in ended.said + ended.output


async def test_a_command_from_nothing_needs_no_setting_before_it_can_say_so() -> None:
    ended = await end(await start_from_nothing({}, "parked", "list"))
    assert ended.status == 2
    assert "DATABASE_URL: Field required" in ended.said


async def test_a_setting_that_cannot_be_is_named_without_its_value() -> None:
    ended = await callwallet({"DATABASE_URL": "mysql://a-secret@localhost/x"}, "parked", "list")
    assert ended.status == 2
    assert "DATABASE_URL: Value error, must begin with postgresql://" in ended.said
    assert "a-secret" not in ended.said + ended.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_no_command_needs_more_secrets_than_the_database_s(command: tuple[str, ...]) -> None:
    gone = f"postgresql://postgres:x@{NOBODY_LISTENS}/callwallet"
    ended = await callwallet({"DATABASE_URL": gone, "TEMPORAL_ADDRESS": NOBODY_LISTENS}, *command)
    assert ended.status == 1
    assert "does not answer" in ended.said
    assert "Field required" not in ended.said


@pytest.mark.parametrize("command", [("explain", "call:abc"), ("setup",)], ids=" ".join)
async def test_a_file_of_a_secret_that_is_not_there_is_named(command: tuple[str, ...]) -> None:
    ended = await callwallet({"DATABASE_URL_FILE": "/nowhere"}, *command)
    assert ended.status == 2
    assert "DATABASE_URL_FILE: the file cannot be read (No such file or directory)" in ended.said
    assert "Traceback" not in ended.said + ended.output
