"""Ask for adjustments over HTTP as operators do, and decide about them."""

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import func, update
from sqlalchemy.ext.asyncio import AsyncEngine

from store.schema import api_keys, idempotency_keys
from tests.support.api_server import Api, new_operator_key
from tests.support.factories import unique

BIG = 10_001  # one minor unit more than an operator may adjust alone


def wanted(direction: str = "credit", amount_minor: int = 2500, **other: Any) -> dict[str, Any]:
    reason = "An afternoon of dropped calls"
    asked = {"direction": direction, "amount_minor": amount_minor, "currency": "gbp"}
    return {**asked, "reason": reason, **other}


async def post(
    client: httpx.AsyncClient, org_id: str, body: dict[str, Any], key: str | None = None
) -> httpx.Response:
    """Ask for an adjustment, under an Idempotency-Key of its own unless one is given."""
    headers = {"Idempotency-Key": key or unique("key")}
    return await client.post(f"/v1/organizations/{org_id}/adjustments", json=body, headers=headers)


async def adjusted(
    client: httpx.AsyncClient, org_id: str, direction: str = "credit", *args: Any, **other: Any
) -> dict[str, Any]:
    """Ask for an adjustment that needs no approval; return it, posted or refused."""
    answer = await post(client, org_id, wanted(direction, *args, **other))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def pending(
    client: httpx.AsyncClient, org_id: str, direction: str = "credit", **other: Any
) -> dict[str, Any]:
    """Ask for a big adjustment, which waits for approval; return it."""
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
    """Return a client with a key of another operator's."""
    return api.with_key(await key_of_an_hour(api.engine))


async def key_of_an_hour(engine: AsyncEngine) -> str:
    """Return an operator's key that was there before whatever has been asked for of late."""
    secret = await new_operator_key(engine)
    async with engine.begin() as connection:
        await connection.execute(
            update(api_keys)
            .where(api_keys.c.key_id == secret.split("_")[1])
            .values(created_at=func.now() - timedelta(hours=1))
        )
    return secret


async def lose_the_answer(api: Api, key: str, *, claimed_seconds: int = 0) -> None:
    """Forget the answer kept under a key, as if the process had died before it was kept."""
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
