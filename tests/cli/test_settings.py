"""A command without the settings that it needs says which, and shows no secret."""

import pytest

from tests.support.command_line import callwallet, end, start_from_nothing

COMMANDS = [
    ("parked", "list"),
    ("reconcile", "vapi"),
    ("explain", "call:abc"),
    ("keys", "create", "--operator", "--label", "me"),
    ("setup",),
]

NEEDED = dict.fromkeys(
    (
        "DATABASE_URL", "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "VAPI_API_KEY",
        "VAPI_WEBHOOK_SECRET",
    ),
    "given",
) | {"DATABASE_URL": "postgresql://localhost/given"}  # fmt: skip


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
    given = {**NEEDED, "TWILIO_AUTH_TOKENS": "a-secret-without-account"}
    ended = await callwallet(given, "parked", "list")
    assert ended.status == 2
    assert "TWILIO_AUTH_TOKENS must be pairs of an account and its token" in ended.said
    assert "a-secret" not in ended.said + ended.output
