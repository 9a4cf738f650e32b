"""Measure how fast webhooks are acknowledged and settled: at a steady rate, and in a burst."""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import organizations
from devstack.load import fire, percentile, post_request
from devstack.providers.vapi.messages import auth_headers, end_of_call_report
from devstack.stack import Stack
from store.database import engine as store_engine
from store.inbox import inbox

ORGANIZATIONS = 20
CONNECTIONS = 32
BURST = 4000
STEADY_PER_SECOND = 200
STEADY_SECONDS = 10
_QUIET_SECONDS = 3.0
_LOOK_EVERY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class WebhookFigures:
    """How fast webhooks were acknowledged in one run, and how fast the calls were settled."""

    acknowledged_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    settled_per_second: float


async def burst(stack: Stack) -> WebhookFigures:
    """Send 4,000 reports on 32 connections, as fast as they are answered."""
    return await _measure(stack, BURST, per_second=None)


async def steady(stack: Stack) -> WebhookFigures:
    """Send 200 reports a second, evenly spaced, for ten seconds."""
    return await _measure(stack, STEADY_PER_SECOND * STEADY_SECONDS, STEADY_PER_SECOND)


async def _measure(stack: Stack, count: int, per_second: float | None) -> WebhookFigures:
    url = f"{stack.api_url}/webhooks/vapi"
    engine = store_engine.connect(stack.postgres.url(), application_name="benchmark", pool_size=1)
    assistants = await organizations.create(stack, ORGANIZATIONS)
    requests = reports(url, stack.settings()["VAPI_WEBHOOK_SECRET"], assistants, count)
    await asyncio.sleep(_QUIET_SECONDS)
    began = time.perf_counter()
    shots = await fire(url, requests, connections=CONNECTIONS, per_second=per_second)
    acknowledged = time.perf_counter() - began
    await _settled(engine)
    settled = time.perf_counter() - began
    await engine.dispose()
    if any(shot.status != httpx.codes.OK for shot in shots):
        raise RuntimeError("not every webhook was answered with 200")
    return WebhookFigures(
        acknowledged_per_second=count / acknowledged,
        p50_milliseconds=percentile(shots, 0.50),
        p99_milliseconds=percentile(shots, 0.99),
        settled_per_second=count / settled,
    )


def reports(url: str, secret: str, assistants: Sequence[str], count: int) -> list[bytes]:
    """Return reports of one-minute calls as requests, so that making them takes no time later."""
    ended = datetime.fromtimestamp(time.time(), UTC)
    started = ended - timedelta(seconds=60)
    prepared = []
    for number in range(count):
        assistant = assistants[number % len(assistants)]
        message = end_of_call_report(str(uuid.uuid4()), assistant, started, ended)
        body = json.dumps(message).encode()
        prepared.append(post_request(url, auth_headers("secret", secret, body), body))
    return prepared


async def _settled(engine: AsyncEngine) -> None:
    """Wait until the inbox is empty: then every call is in the ledger."""
    while True:
        async with engine.connect() as connection:
            if (await inbox.backlog(connection)).waiting == 0:
                return
        await asyncio.sleep(_LOOK_EVERY_SECONDS)
