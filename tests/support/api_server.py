"""Run the application behind a real HTTP server, with clients that use it as senders do."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.__main__ import server_config
from api.app import create_app
from api.http.connections import Bounds
from api.services import Limits
from billing.platform_rules import PlatformRules
from store.organizations import api_keys
from store.schema import webhook_events
from tests.support import signed_webhooks, twilio_callbacks

# A rate (of calls a second) at which every call of a test gets a workflow of its own.
NO_FLOOD = 100_000.0
RULES = PlatformRules(
    checkout_return_origins=frozenset({"https://app.example", "http://localhost:3000"}),
    own_workflow_rate=NO_FLOOD,
)
# A busy machine may take its time to send what it has begun to send.
BOUNDS = Bounds(head_seconds=120.0, body_seconds=120.0)
# Tests share keys and come from one address.
LIMITS = Limits(100_000, 100_000, health_fresh_seconds=0.0)
FLOODED = replace(RULES, own_workflow_rate=0.001)
_PATHS = {"twilio": "/webhooks/twilio/sms-status"}


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to pytest."""
        yield


@dataclass(frozen=True)
class Api:
    """A running API: its URL, a client with an operator's key, and one without a key."""

    app: FastAPI
    url: str
    engine: AsyncEngine
    temporal: Client
    operator: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    clients: list[httpx.AsyncClient] = field(default_factory=list)

    def with_key(self, secret: str) -> httpx.AsyncClient:
        client = _client(self.url, {"Authorization": f"Bearer {secret}"})
        self.clients.append(client)
        return client

    async def tenant(self, org_id: str) -> httpx.AsyncClient:
        """Return a client with a new key of one organisation."""
        async with self.engine.begin() as connection:
            _, secret = await api_keys.issue(connection, "a tenant's", org_id)
        return self.with_key(secret)

    async def send(self, webhook: signed_webhooks.Webhook) -> httpx.Response:
        headers = httpx.Headers(dict(webhook.headers), encoding="latin-1")
        path = _PATHS.get(webhook.source, f"/webhooks/{webhook.source}")
        return await self.anonymous.post(path, content=webhook.body, headers=headers)

    async def counted(self) -> Mapping[tuple[str, str], float]:
        """Read from /metrics how many webhooks were counted, by source and outcome."""
        text = (await self.operator.get("/metrics")).raise_for_status().text
        return {
            (sample.labels["source"], sample.labels["outcome"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "callwallet_webhooks_total"
        }

    async def stored(self) -> int:
        """Return how many webhooks are in the inbox."""
        async with self.engine.connect() as connection:
            count = select(func.count()).select_from(webhook_events)
            return int((await connection.execute(count)).scalar_one())

    async def event(self, key: str) -> Any:
        """Read the row of a webhook; return None if there is none."""
        async with self.engine.connect() as connection:
            found = select(webhook_events).where(webhook_events.c.key == key)
            return (await connection.execute(found)).one_or_none()


@asynccontextmanager
async def serving(
    engine: AsyncEngine,
    temporal: Client,
    *,
    rules: PlatformRules = RULES,
    operator_key: str | None = None,
    served: AsyncEngine | None = None,
    workflows_url: str | None = None,
    stripe_livemode: bool | None = None,
    bounds: Bounds = BOUNDS,
    limits: Limits = LIMITS,
    trusted_proxies: str = "",
    warnings: Sequence[str] = (),
) -> AsyncIterator[Api]:
    """Serve an API in this process. If the database is away, `operator_key` must be given.

    It has the engine `served`, as the service's role, if that is given; `engine` is the test's.
    """
    app = create_app(
        served or engine,
        temporal,
        rules=rules,
        stripe_secrets=signed_webhooks.STRIPE_SECRETS,
        vapi_secrets=signed_webhooks.VAPI_SECRETS,
        twilio=twilio_callbacks.TWILIO_ACCOUNTS,
        workflows_url=workflows_url,
        stripe_livemode=stripe_livemode,
        limits=limits,
        warnings=warnings,
    )
    operator_key = operator_key or await new_operator_key(engine)
    async with listening(app, bounds, trusted_proxies) as url, _client(url) as anonymous:
        authorization = {"Authorization": f"Bearer {operator_key}"}
        async with _client(url, authorization) as operator:
            api = Api(app, url, engine, temporal, operator, anonymous)
            yield api
            for client in api.clients:
                await client.aclose()


@asynccontextmanager
async def listening(
    app: FastAPI, bounds: Bounds = BOUNDS, trusted_proxies: str = ""
) -> AsyncIterator[str]:
    """Run uvicorn with an app on a free port; yield its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(
            server_config(app, bounds, trusted_proxies=trusted_proxies, log_level="critical")
        )
        running = asyncio.create_task(server.serve([listener]))
        while not server.started:
            assert not running.done(), "the server did not start"
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await running


async def new_operator_key(engine: AsyncEngine) -> str:
    async with engine.begin() as connection:
        _, secret = await api_keys.issue(connection, "the tests' operator", None)
        return secret


def _client(url: str, headers: Mapping[str, str] | None = None) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False)
