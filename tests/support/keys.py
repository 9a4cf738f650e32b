"""Keys that tests make, rotate and let grow old."""

from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from store.schema import api_keys
from tests.support.api_server import Api
from tests.support.factories import unique


def id_of(secret: str) -> str:
    """Return the id of a key, which stands in its text."""
    return secret.split("_")[1]


def key_of(client: httpx.AsyncClient) -> str:
    """Return the id of the key that a client shows."""
    return id_of(client.headers["authorization"])


async def made(client: httpx.AsyncClient, **new: Any) -> dict[str, Any]:
    """Make a key over HTTP; return it with its secret."""
    answer = await client.post("/v1/api-keys", json={"label": "another", **new})
    assert answer.status_code == 201, answer.text
    issued: dict[str, Any] = answer.json()
    return issued


async def rotate(
    client: httpx.AsyncClient, key_id: str, *, once: str | None = None, **new: Any
) -> httpx.Response:
    """Have a key replaced, under an Idempotency-Key of its own unless one is given."""
    headers = {"Idempotency-Key": once or unique("once")}
    return await client.post(f"/v1/api-keys/{key_id}/rotate", json=new, headers=headers)


async def rotated(
    api: Api, client: httpx.AsyncClient, key_id: str, **new: Any
) -> httpx.AsyncClient:
    """Have a key replaced; return a client with the new one."""
    answer = await rotate(client, key_id, **new)
    assert answer.status_code == 201, answer.text
    return api.with_key(answer.json()["secret"])


async def row_of(engine: AsyncEngine, key_id: str) -> Any:
    async with engine.connect() as connection:
        return (await connection.execute(select(api_keys).where(api_keys.c.key_id == key_id))).one()


async def set_row(engine: AsyncEngine, key_id: str, **values: Any) -> None:
    """Write what the service may not."""
    async with engine.begin() as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.key_id == key_id).values(**values)
        )


async def grow_old(engine: AsyncEngine, *key_ids: str) -> None:
    """Let keys have been there for two hours longer."""
    created_at = api_keys.c.created_at - timedelta(hours=2)
    async with engine.begin() as connection:
        await connection.execute(
            update(api_keys).where(api_keys.c.key_id.in_(key_ids)).values(created_at=created_at)
        )


async def expire(engine: AsyncEngine, key_id: str) -> None:
    """Let a key have expired this moment."""
    await set_row(engine, key_id, expires_at=func.now())


async def revoked(api: Api, key_id: str) -> None:
    """Have a key revoked by an operator."""
    answer = await api.operator.delete(f"/v1/api-keys/{key_id}")
    assert answer.status_code == 204, answer.text
