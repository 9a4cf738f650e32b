"""The whole system from outside: real processes, which are killed, and asked by HTTP and SQL."""

import asyncio
import itertools
import json
import os
import random
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.inbox.webhook_event import Drain
from billing.ledger.money import Currency
from devstack.demo.customer import Customer
from devstack.demo.platform import Tenant
from devstack.load import Shot, fire, post_request
from devstack.providers.vapi.messages import auth_headers, end_of_call_report
from devstack.stack import Stack
from processes.drains import nudge
from store.database import engine as store_engine
from workflows.shared.data_converter import DATA_CONVERTER

CONNECTIONS = 32
KILLED = ("api", "worker", "temporal", "postgres")
# How long a sender tries again, and how long it may take until no work is left.
PATIENCE_SECONDS = 480.0
# One operator makes organisations that no story is to find short.
ANY_LIMIT = {"DEBT_LIMIT_APPROVAL_MINOR": "1000000000"}
WAITING = "SELECT count(*) FROM webhook_events WHERE status = 'waiting'"
UNPROVEN = """
    SELECT count(*) FROM wallets WHERE balance_minor <> (
        SELECT coalesce(sum(CASE WHEN debit_account = 'wallet:' || e.org_id
                                 THEN -amount_minor ELSE amount_minor END), 0)
        FROM ledger_entries e WHERE e.org_id = wallets.org_id)"""
RUNNING = 'BillingState = "running" AND ExecutionStatus = "Running"'


@dataclass(frozen=True)
class World:
    """A running system, with clients to look at it from outside."""

    stack: Stack
    engine: AsyncEngine
    temporal: Client
    http: httpx.AsyncClient
    customer: Customer

    async def creates(self, name: str, debt_limit_minor: int) -> Tenant:
        org_id = f"{name}-{uuid.uuid4().hex[:8]}"
        tenant = Tenant(org_id, name, Currency.GBP, assistant_id=f"assistant-{org_id}")
        new = {"org_id": org_id, "name": name, "currency": "gbp"}
        made = await self.http.post(
            "/v1/organizations", json={**new, "debt_limit_minor": debt_limit_minor}
        )
        agent = {"assistant_id": tenant.assistant_id}
        path = f"/v1/organizations/{org_id}/assistants"
        registered = await self.http.post(path, json=agent)
        assert (made.status_code, registered.status_code) == (201, 201)
        return tenant

    @property
    def webhook_url(self) -> str:
        return f"{self.stack.api_url}/webhooks/vapi"

    def webhooks(self, messages: Iterable[dict[str, Any]]) -> list[bytes]:
        """Return Vapi's POST of each message."""
        secret = self.stack.settings()["VAPI_WEBHOOK_SECRET"]
        bodies = (json.dumps(message).encode() for message in messages)
        return [
            post_request(self.webhook_url, auth_headers("secret", secret, body), body)
            for body in bodies
        ]

    async def rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        async with self.engine.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(sql), values)]

    async def scalar(self, sql: str, **values: object) -> int:
        rows = await self.rows(sql, **values)
        return int(rows[0][0] or 0) if rows else 0

    async def count(self, query: str) -> int:
        return (await self.temporal.count_workflows(query)).count


@dataclass(frozen=True)
class Reports:
    """End-of-call reports of one-minute calls, each twice, in random order, ready to be sent."""

    call_ids: Sequence[str]
    url: str
    requests: Sequence[bytes]
    subjects: Sequence[str]


@asynccontextmanager
async def running_world(state: Path) -> AsyncIterator[World]:
    async with Stack(state, rules=ANY_LIMIT) as stack:
        engine = store_engine.connect(stack.postgres.url(), application_name="story", pool_size=3)
        temporal = await Client.connect(
            stack.temporal.address, namespace="billing", data_converter=DATA_CONVERTER
        )
        key, stripe_key = stack.operator_key, stack.settings()["STRIPE_API_KEY"]
        async with _http(stack.api_url, key) as http, _http(stack.stripe_url, stripe_key) as stripe:
            yield World(stack, engine, temporal, http, Customer(stripe))
        await engine.dispose()


def reports_twice(world: World, tenants: Sequence[Tenant], calls: int) -> Reports:
    """Return reports of one-minute calls (56 pence each), spread over the tenants, each twice."""
    ended = datetime.fromtimestamp(time.time(), UTC)
    call_ids = [f"story-{uuid.uuid4()}" for _ in range(calls)]
    assistants = itertools.cycle(tenant.assistant_id for tenant in tenants)
    messages = (
        end_of_call_report(call_id, next(assistants), ended - timedelta(seconds=60), ended)
        for call_id in call_ids
    )
    twice = list(zip(world.webhooks(messages), call_ids, strict=True)) * 2
    random.Random(calls).shuffle(twice)
    requests, subjects = zip(*twice, strict=True)
    return Reports(call_ids, world.webhook_url, requests, subjects)


async def send_while_killing(world: World, reports: Reports) -> list[Shot]:
    """Send everything, and kill a part whenever another fifth has been answered, each part once."""
    answered = 0
    progressed = asyncio.Event()

    def count(_: Shot) -> None:
        nonlocal answered
        answered += 1
        progressed.set()

    async def kill_each() -> None:
        for turn, name in enumerate(KILLED, start=1):
            while answered < len(reports.requests) * turn // (len(KILLED) + 1):
                progressed.clear()
                await progressed.wait()
            await kill_and_wait(world.stack, name)

    shots, _ = await asyncio.gather(
        fire(
            reports.url,
            reports.requests,
            connections=CONNECTIONS,
            give_up_seconds=PATIENCE_SECONDS,
            answered=count,
        ),
        kill_each(),
    )
    return shots


async def balances(world: World, tenants: Sequence[Tenant]) -> int:
    """What the wallets of these tenants come to."""
    total = "SELECT sum(balance_minor) FROM wallets WHERE org_id = ANY(:org_ids)"
    return await world.scalar(total, org_ids=[tenant.org_id for tenant in tenants])


async def kill_and_wait(stack: Stack, name: str) -> None:
    """Kill a part by SIGKILL, and wait until its supervisor has started it again."""
    killed = stack.pids()[name]
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while stack.pids().get(name, killed) == killed:  # noqa: ASYNC110  (another process)
            await asyncio.sleep(0.05)


async def is_well(world: World) -> bool:
    """Whether the API says that every part runs; one that is just starting says nothing."""
    try:
        answer = await world.http.get("/health")
    except httpx.TransportError:
        return False
    return bool(answer.json()["status"] == "ok")


async def grace_passes(world: World) -> None:
    """Let what others were to see to, who may have been killed, be due now and not in a minute."""
    await until("a system that is well", 1, lambda: is_well(world))
    async with world.engine.begin() as connection:
        await connection.execute(
            text("UPDATE webhook_events SET due_at = now() WHERE status = 'waiting'")
        )
    await nudge(world.temporal, Drain.INBOX)
    await nudge(world.temporal, Drain.MESSAGES)


async def until(what: str, expected: int, look: Callable[[], Awaitable[int]]) -> None:
    """Look until the expected number is found; ask again while a server is starting.

    Raise AssertionError when the patience is spent.
    """
    found = -1
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (found := await _or_nothing(look)) != expected:  # noqa: ASYNC110  (a server)
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"{what}: expected {expected}, found {found}") from None


async def _or_nothing(look: Callable[[], Awaitable[int]]) -> int:
    try:
        return await look()
    except OperationalError:
        return -1


def _http(url: str, key: str) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30.0)
