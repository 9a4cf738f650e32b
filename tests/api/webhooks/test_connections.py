"""Webhooks have connections of their own: whoever waits for a wallet keeps none waiting."""

import asyncio
from contextlib import AsyncExitStack

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from store.database import engine as store_engine
from tests.support.answers import accepted
from tests.support.api_server import Api, serving
from tests.support.eventually import eventually
from tests.support.factories import an_organization
from tests.support.signed_webhooks import report, stripe_event

POOL = 10
_LOCK = text("SELECT FROM wallets WHERE org_id = :org_id FOR UPDATE")
_WAITING = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_STORED = text("SELECT count(*) FROM webhook_events WHERE key = ANY(:keys)")


async def test_locked_wallets_do_not_keep_a_webhook_waiting(
    api: Api, engine_apart: AsyncEngine
) -> None:
    org_id = await an_organization(engine_apart)
    async with AsyncExitStack() as opened:
        slow = await opened.enter_async_context(serving(engine_apart, api.temporal))
        beside = store_engine.beside(engine_apart, application_name="tests", pool_size=2)
        opened.push_async_callback(beside.dispose)
        locked = await opened.enter_async_context(beside.begin())
        await locked.execute(_LOCK, {"org_id": org_id})
        looking = await opened.enter_async_context(
            beside.execution_options(isolation_level="AUTOCOMMIT").connect()
        )
        path, limit = f"/v1/organizations/{org_id}/debt-limit", {"debt_limit_minor": 700}
        wait = [asyncio.create_task(slow.operator.put(path, json=limit)) for _ in range(POOL)]

        async def all_wait() -> bool:
            return bool(await looking.scalar(_WAITING) == POOL)

        await eventually(all_wait)
        webhooks = [report(), stripe_event()]
        for webhook in webhooks:
            assert accepted(await slow.send(webhook)) == "accepted"
        assert not any(one.done() for one in wait)
        stored = await looking.scalar(_STORED, {"keys": [one.key for one in webhooks]})
        assert stored == len(webhooks)  # and have not gone to Temporal
        await locked.rollback()
        answers = await asyncio.gather(*wait)
        assert {answer.status_code for answer in answers} == {200}
