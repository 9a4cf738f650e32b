"""Measure webhooks while a crowd of clients holds on to whatever the API lends them."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from threading import Event
from urllib.parse import urlsplit

import httpx
import uvloop

from benchmarks import memory, organizations, webhooks
from benchmarks.webhooks import WebhookFigures
from devstack.load import post_request
from devstack.stack import Stack

HELD_UPLOADS = 400
IDLE = 2000
SLOW = 300
# Clients that send the worst body that their key is let send, one after another.
WORST = 2
_HELD_BYTES = 100_000
_WORST_BODY = b"{" + b",".join(b'"%d":0' % number for number in range(7000)) + b"}"
_AGAIN_SECONDS = 1.0
_GATHERING_SECONDS = 5.0
_GONE = (OSError, asyncio.IncompleteReadError)


@dataclass(frozen=True, slots=True)
class CrowdFigures:
    """Webhooks alone and in the crowd, and the API's resident memory in MB."""

    alone: WebhookFigures
    crowded: WebhookFigures
    memory_before: float
    memory_peak: float


async def measure(stack: Stack) -> CrowdFigures:
    """Send 200 reports a second: first alone, then while another process is the crowd.

    Whoever of the crowd is shown out comes back a second later.
    """
    [assistant] = await organizations.create(stack, 1)
    org_id = assistant.removeprefix("assistant-")
    key = await _key_of(stack, org_id)
    alone = await webhooks.steady(stack)
    pid = stack.pids()["api"]
    before = memory.now(pid)
    with get_context("spawn").Manager() as manager:
        over = manager.Event()
        with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
            loop = asyncio.get_running_loop()
            crowd = loop.run_in_executor(elsewhere, _gather, stack.api_url, org_id, key, over)
            await asyncio.sleep(_GATHERING_SECONDS)
            crowded = await webhooks.steady(stack)
            over.set()
            await crowd
    return CrowdFigures(alone, crowded, before, memory.peak(pid))


async def _key_of(stack: Stack, org_id: str) -> str:
    """Return a tenant's key, with which a body is read."""
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    async with httpx.AsyncClient(base_url=stack.api_url, headers=headers, trust_env=False) as http:
        new = {"label": "crowd", "org_id": org_id}
        made = await http.post("/v1/api-keys", json=new)
    return str(made.raise_for_status().json()["secret"])


def _gather(url: str, org_id: str, key: str, over: Event) -> None:
    uvloop.run(_crowd(url, org_id, key, over))


async def _crowd(url: str, org_id: str, key: str, over: Event) -> None:
    to = f"{url}/v1/organizations/{org_id}/checkout-sessions"
    worst = post_request(to, {"Authorization": f"Bearer {key}"}, _WORST_BODY)
    upload = post_request(f"{url}/webhooks/vapi", {}, b"x" * 1_000_000)[:_HELD_BYTES]
    clients = [
        *(
            _again(url, lambda reader, writer: _hold(reader, writer, upload))
            for _ in range(HELD_UPLOADS)
        ),
        *(_again(url, lambda reader, writer: _hold(reader, writer, b"")) for _ in range(IDLE)),
        *(_again(url, _drip) for _ in range(SLOW)),
        *(_again(url, lambda reader, writer: _ask(reader, writer, worst)) for _ in range(WORST)),
    ]
    tasks = [asyncio.ensure_future(client) for client in clients]
    while not await asyncio.to_thread(over.wait, _AGAIN_SECONDS):
        pass
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


Client = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _again(url: str, client: Client) -> None:
    """Connect, do as this client does until it is shown out, and come back."""
    address = urlsplit(url)
    while True:
        with suppress(*_GONE):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            try:
                await client(reader, writer)
            finally:
                writer.close()
        await asyncio.sleep(_AGAIN_SECONDS)


async def _hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> None:
    writer.write(sent)
    await reader.read()


async def _drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /v1/api-keys HTTP/1.1\r\n")
    while True:
        writer.write(b"X-Slow: 1\r\n")
        await writer.drain()
        await asyncio.sleep(_AGAIN_SECONDS)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> None:
    while True:
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [
            line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        await reader.readexactly(int(lengths[0][15:]) if lengths else 0)
