"""Measure the gate during a burst of webhooks: how long calls wait to be let in."""

import asyncio
import json
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context

import httpx
import uvloop

from benchmarks import organizations, webhooks
from devstack.load import Shot, fire, percentile, post_request
from devstack.providers.vapi.messages import assistant_request, auth_headers
from devstack.stack import Stack

ASKED_PER_SECOND = 100
ASKED_SECONDS = 6
# More than can be acknowledged in that time, so that the burst lasts longer than the asking.
BURST = 25_000
_AHEAD_SECONDS = 0.5
_QUIET_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class GateFigures:
    """How long calls waited to be let in, alone (quiet) and in a burst, and how the burst went."""

    quiet_p50_milliseconds: float
    quiet_p99_milliseconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    longest_milliseconds: float
    webhooks_p99_milliseconds: float
    webhooks_per_second: float


async def measure(stack: Stack) -> GateFigures:
    """Ask for 100 calls a second, for six seconds: first alone, then in a burst of webhooks.

    Another process sends the burst, for sending it keeps a process busy.
    """
    url, secret = f"{stack.api_url}/webhooks/vapi", stack.settings()["VAPI_WEBHOOK_SECRET"]
    assistants = await organizations.create(stack, webhooks.ORGANIZATIONS)
    numbers = await _give_numbers(stack, assistants)
    reports = webhooks.reports(url, secret, assistants, BURST)
    await asyncio.sleep(_QUIET_SECONDS)
    quiet = await _ask(url, secret, numbers)
    with ProcessPoolExecutor(1, get_context("spawn")) as sender:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(sender, int)  # wait until the process has started
        began = time.perf_counter()
        burst = loop.run_in_executor(sender, _send, url, reports)
        await asyncio.sleep(_AHEAD_SECONDS)
        asked = await _ask(url, secret, numbers)
        if burst.done():
            raise RuntimeError("the burst was over before all calls had asked")
        shots = await burst
    return GateFigures(
        quiet_p50_milliseconds=percentile(quiet, 0.50),
        quiet_p99_milliseconds=percentile(quiet, 0.99),
        p50_milliseconds=percentile(asked, 0.50),
        p99_milliseconds=percentile(asked, 0.99),
        longest_milliseconds=percentile(asked, 1.0),
        webhooks_p99_milliseconds=percentile(shots, 0.99),
        webhooks_per_second=BURST / (time.perf_counter() - began),
    )


def _send(url: str, requests: Sequence[bytes]) -> list[Shot]:
    return uvloop.run(fire(url, requests, connections=webhooks.CONNECTIONS))


async def _ask(url: str, secret: str, numbers: Sequence[str]) -> list[Shot]:
    """Ask at a steady rate. A stall counts for every call that it keeps waiting."""
    now = datetime.fromtimestamp(time.time(), UTC)
    count = ASKED_PER_SECOND * ASKED_SECONDS
    bodies = [
        json.dumps(assistant_request(str(uuid.uuid4()), numbers[at % len(numbers)], now)).encode()
        for at in range(count)
    ]
    requests = [post_request(url, auth_headers("secret", secret, body), body) for body in bodies]
    shots = await fire(url, requests, connections=webhooks.CONNECTIONS, per_second=ASKED_PER_SECOND)
    if any(shot.status != httpx.codes.OK for shot in shots):
        raise RuntimeError("not every call was answered with 200")
    return shots


async def _give_numbers(stack: Stack, assistants: Sequence[str]) -> list[str]:
    """Register a number for each assistant; return the numbers, all of which may start calls."""
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    async with httpx.AsyncClient(
        base_url=stack.api_url, headers=headers, trust_env=False, timeout=30
    ) as http:
        for assistant in assistants:
            org_id = assistant.removeprefix("assistant-")
            new = {"phone_number_id": f"number-{org_id}", "assistant_id": assistant}
            path = f"/v1/organizations/{org_id}"
            (await http.post(f"{path}/assistants", json=new)).raise_for_status()
            allowed = (await http.get(f"{path}/allowance")).raise_for_status().json()["allowed"]
            if not allowed:
                raise RuntimeError(f"{org_id} may not start calls")
    return [f"number-{assistant.removeprefix('assistant-')}" for assistant in assistants]
