"""Create organisations to measure with, whose wallets never refuse a call."""

import uuid

import httpx

from devstack.stack import Stack

_HUGE_DEBT_LIMIT_MINOR = 100_000_000
# One operator makes them all.
RULES = {"DEBT_LIMIT_APPROVAL_MINOR": str(10_000 * _HUGE_DEBT_LIMIT_MINOR)}


async def create(stack: Stack, count: int) -> list[str]:
    """Create organisations with an assistant each; return the assistants' ids."""
    run = uuid.uuid4().hex[:8]
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    async with httpx.AsyncClient(
        base_url=stack.api_url, headers=headers, trust_env=False, timeout=30
    ) as http:
        return [await _create(http, f"bench-{run}-{number}") for number in range(count)]


async def _create(http: httpx.AsyncClient, org_id: str) -> str:
    new = {"org_id": org_id, "name": "Bench", "currency": "gbp"}
    limit = {"debt_limit_minor": _HUGE_DEBT_LIMIT_MINOR}
    (await http.post("/v1/organizations", json={**new, **limit})).raise_for_status()
    path = f"/v1/organizations/{org_id}/assistants"
    agent = {"assistant_id": f"assistant-{org_id}"}
    (await http.post(path, json=agent)).raise_for_status()
    return agent["assistant_id"]
