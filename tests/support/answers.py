"""Check the answers of the API, and wait for what happens after them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.support.api_server import Api
from tests.support.signed_webhooks import Webhook

# Long enough for a busy machine: no test here is about speed.
PATIENCE_SECONDS = 120.0


def accepted(answer: httpx.Response) -> str:
    """Return the status in the answer to a webhook, which must be a 200."""
    assert answer.status_code == 200, answer.text
    return str(answer.json()["status"])


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Return the RFC 9457 document of an error, which must have this status and code."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), document
    assert answer.headers["content-type"] == "application/problem+json"
    assert document["type"] == f"urn:callwallet:problem:{code}"
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


async def expect_refusal(api: Api, webhook: Webhook, status: int, code: str) -> None:
    """Send a webhook that must be refused, counted, and stored nowhere."""
    stored, counted = await api.stored(), await api.counted()
    problem(await api.send(webhook), status, code)
    assert await api.stored() == stored
    expected = {**counted, (webhook.source, code): counted.get((webhook.source, code), 0) + 1}
    assert await api.counted() == expected


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something that happens after the answer has happened."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await is_so():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.05)


async def settled(api: Api, call_id: str) -> dict[str, Any]:
    """Wait until a call is settled; return it."""

    async def is_settled() -> bool:
        return await state_of(api, call_id) == "settled"

    await eventually(is_settled)
    return await call_of(api, call_id)


async def parked(api: Api, call_id: str, reason: str) -> None:
    """Wait until a call is parked for this reason."""

    async def is_parked() -> bool:
        return await state_of(api, call_id) == reason

    await eventually(is_parked)


async def state_of(api: Api, call_id: str) -> str | None:
    answer = await api.operator.get(f"/v1/calls/{call_id}")
    return str(answer.json()["state"]) if answer.is_success else None


async def call_of(api: Api, call_id: str) -> dict[str, Any]:
    answer = await api.operator.get(f"/v1/calls/{call_id}")
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def balance(api: Api, org_id: str) -> int:
    answer = await api.operator.get(f"/v1/organizations/{org_id}/wallet")
    return int(answer.raise_for_status().json()["balance_minor"])
