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


def answered(kind: str, agent_id: str, seconds: int | None) -> dict[str, Any]:
    """Return the answer that has a squad or a workflow take a call, capped if it can be."""
    capped = {f"{kind}Overrides": {"maxDurationSeconds": seconds}} if seconds else {}
    return {f"{kind}Id": agent_id} | capped


async def ask(api: Api, number: str | None, call_id: str | None = None) -> dict[str, Any]:
    answer = await api.send(with_bearer(assistant_request(number, call_id)))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    said: dict[str, Any] = answer.json()
    return said


async def a_number(api: Api, org_id: str, kind: str = "assistant") -> tuple[str, str]:
    """Register a number and the assistant, squad or workflow that answers it; return both ids."""
    number, answers = unique("number"), unique(kind)
    path = f"/v1/organizations/{org_id}/assistants"
    for new in (
        {f"{kind}_id": answers},
        {"phone_number_id": number, f"{kind}_id": answers},
    ):
        (await api.operator.post(path, json=new)).raise_for_status()
    return number, answers
