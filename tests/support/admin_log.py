"""Read the book of powers, and what people were told at once."""

from typing import Any

import httpx
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from store.schema import alerts
from tests.support.api_server import Api


def key_id_of(client: httpx.AsyncClient) -> str:
    """Return the id of the key that a client shows."""
    return client.headers["authorization"].split("_")[1]


async def lines(api: Api, **which: Any) -> list[dict[str, Any]]:
    """Return the lines that fit, newest first."""
    answer = await api.operator.get("/v1/admin-log", params={"limit": 200, **which})
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


async def done(api: Api, **which: Any) -> list[str]:
    """Return what was done, oldest first."""
    return [one["action"] for one in reversed(await lines(api, **which))]


async def told(engine: AsyncEngine, beginning: str) -> list[str]:
    """Return the titles of the alerts whose keys begin so."""
    query = select(alerts.c.title).where(alerts.c.key.startswith(beginning, autoescape=True))
    async with engine.connect() as connection:
        return list(await connection.scalars(query.order_by(alerts.c.alert_id)))
