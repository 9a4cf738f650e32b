"""Calls that want to start: numbers that assistants answer, and how Vapi asks who does."""

from typing import Any

from tests.api.serving import Api
from tests.api.signing import message, with_bearer
from tests.factories import unique


def asked(number: str | None, call_id: str | None = None) -> bytes:
    call = {"id": call_id or unique("call"), "orgId": "vapi-account", "phoneNumberId": number}
    return message("assistant-request", None, call=call)


def let_in(assistant_id: str, seconds: int) -> dict[str, Any]:
    overrides = {"maxDurationSeconds": seconds}
    return {"assistantId": assistant_id, "assistantOverrides": overrides}


async def ask(api: Api, number: str | None, call_id: str | None = None) -> dict[str, Any]:
    answer = await api.send(with_bearer(asked(number, call_id)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    said: dict[str, Any] = answer.json()
    return said


async def a_number(api: Api, org_id: str) -> tuple[str, str]:
    """Register a number that an assistant of the same organisation answers, as operators do."""
    number, assistant = unique("number"), unique("assistant")
    path = f"/v1/organizations/{org_id}/assistants"
    for new in (
        {"assistant_id": assistant},
        {"phone_number_id": number, "assistant_id": assistant},
    ):
        (await api.operator.post(path, json=new)).raise_for_status()
    return number, assistant
