"""Adjustments as operators ask for them over HTTP, and what is left of them in the database."""

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import func, update

from store.schema import idempotency_keys
from tests.api.serving import Api, new_operator_key
from tests.factories import unique

BIG = 10_001  # one more than an operator may do alone


def wanted(direction: str = "credit", amount_minor: int = 2500, **other: Any) -> dict[str, Any]:
    reason = "An afternoon of dropped calls"
    asked = {"direction": direction, "amount_minor": amount_minor, "currency": "gbp"}
    return {**asked, "reason": reason, **other}


async def post(
    client: httpx.AsyncClient, org_id: str, body: dict[str, Any], key: str | None = None
) -> httpx.Response:
    """Ask for an adjustment, under a key of its own unless one is given."""
    headers = {"Idempotency-Key": key or unique("key")}
    return await client.post(f"/v1/organizations/{org_id}/adjustments", json=body, headers=headers)


async def adjusted(
    client: httpx.AsyncClient, org_id: str, direction: str = "credit", *args: Any, **other: Any
) -> dict[str, Any]:
    """The adjustment that was made at once, or refused."""
    answer = await post(client, org_id, wanted(direction, *args, **other))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def pending(
    client: httpx.AsyncClient, org_id: str, direction: str = "credit", **other: Any
) -> dict[str, Any]:
    """A big adjustment, which waits."""
    answer = await post(client, org_id, wanted(direction, BIG, **other))
    assert answer.status_code == 202, answer.text
    waits: dict[str, Any] = answer.json()
    assert (waits["state"], waits["posting"]) == ("pending", None)
    return waits


async def say(
    client: httpx.AsyncClient, adjustment: dict[str, Any], verdict: str, note: str = "Looks right"
) -> httpx.Response:
    path = f"/v1/adjustments/{adjustment['adjustment_id']}/{verdict}"
    return await client.post(path, json={"note": note})


async def another_operator(api: Api) -> httpx.AsyncClient:
    return api.with_key(await new_operator_key(api.engine))


async def lose_the_answer(api: Api, key: str, *, claimed_seconds: int = 0) -> None:
    """Leave what a process leaves that dies after the effect and before the answer is kept."""
    async with api.engine.begin() as connection:
        await connection.execute(
            update(idempotency_keys)
            .where(idempotency_keys.c.key == key)
            .values(
                status=None,
                body=None,
                claimed_until=func.now() + timedelta(seconds=claimed_seconds),
            )
        )
