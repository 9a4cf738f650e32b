"""Vapi's assistant-requests: calls that ask to start, at numbers that assistants answer."""

from typing import Any

from tests.support.api_server import Api
from tests.support.factories import unique
from tests.support.signed_webhooks import message, with_bearer


def assistant_request(number: str | None, call_id: str | None = None) -> bytes:
    call = {"id": call_id or unique("call"), "orgId": "vapi-account", "phoneNumberId": number}
    return message("assistant-request", None, call=call)


def admission(assistant_id: str, seconds: int) -> dict[str, Any]:
    """Return the answer that lets a call start, for at most so many seconds."""
    overrides = {"maxDurationSeconds": seconds}
    return {"assistantId": assistant_id, "assistantOverrides": overrides}


async def ask(api: Api, number: str | None, call_id: str | None = None) -> dict[str, Any]:
    answer = await api.send(with_bearer(assistant_request(number, call_id)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    said: dict[str, Any] = answer.json()
    return said


async def a_number(api: Api, org_id: str) -> tuple[str, str]:
    """Register a number and the assistant that answers it; return both ids."""
    number, assistant = unique("number"), unique("assistant")
    path = f"/v1/organizations/{org_id}/assistants"
    for new in (
        {"assistant_id": assistant},
        {"phone_number_id": number, "assistant_id": assistant},
    ):
        (await api.operator.post(path, json=new)).raise_for_status()
    return number, assistant
