"""Run the stand-ins as a real process, and receive the webhooks that they send."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import stripe

from devstack.programs import python
from tests.support.forks import FORKS, STDERR, Fork
from tests.support.os_processes import eventually

STRIPE_SECRET = "whsec_test"
VAPI_SECRET = "vapi_test"
SECRETS = {"STRIPE_WEBHOOK_SECRET": STRIPE_SECRET, "VAPI_WEBHOOK_SECRET": VAPI_SECRET}


@dataclass(frozen=True)
class Webhook:
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


@dataclass
class Receiver:
    """Receive webhooks; answer each with the next of `statuses`, then with 200."""

    url: str = ""
    received: list[Webhook] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Webhook(headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def expect(self, count: int) -> list[Webhook]:
        await eventually(lambda: len(self.received) >= count, 10)
        return self.received

    def types(self) -> list[str]:
        return [webhook.json["type"] for webhook in self.received]

    def messages(self) -> list[dict[str, Any]]:
        return [webhook.json["message"] for webhook in self.received]


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", port)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhook"
    async with server:
        yield receiver


class StandIns:
    """The process, and a client for each stand-in in it."""

    def __init__(self, process: Fork, urls: dict[str, str]) -> None:
        self.process = process
        self.urls = urls
        self.stripe = httpx.AsyncClient(base_url=urls["stripe"])
        self.vapi = httpx.AsyncClient(
            base_url=urls["vapi"], headers={"Authorization": "Bearer vapi_key"}, timeout=30
        )
        self.slack = httpx.AsyncClient(base_url=urls["slack"])
        self.twilio = httpx.AsyncClient(base_url=urls["twilio"])

    @classmethod
    async def start(cls, state: Path, *arguments: str) -> Self:
        process = await FORKS.run(
            python("devstack.providers", "--state", str(state), *arguments),
            {**os.environ, **SECRETS},
            stdout=PIPE,
            stderr=STDERR,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        return cls(process, json.loads(line))

    async def control(self, name: str, path: str, body: Any = None) -> Any:
        client: httpx.AsyncClient = getattr(self, name)
        answer = await client.post(f"/_control/{path}", json={} if body is None else body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def end(self, *, kill: bool = False) -> int:
        for client in (self.stripe, self.vapi, self.slack, self.twilio):
            await client.aclose()
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 10)

    async def reset(self) -> None:
        """Remove the faults of every stand-in, and restore deliveries. What happened stays."""
        for client in (self.stripe, self.vapi, self.slack, self.twilio):
            await client.delete("/_control/faults")
        for client in (self.stripe, self.vapi, self.twilio):
            await client.delete("/_control/deliveries")


@asynccontextmanager
async def running(state: Path, *arguments: str) -> AsyncIterator[StandIns]:
    stand_ins = await StandIns.start(state, *arguments)
    try:
        yield stand_ins
    finally:
        if stand_ins.process.returncode is None:
            await stand_ins.end()


@asynccontextmanager
async def stripe_client(
    url: str, give_up_seconds: float = 20
) -> AsyncIterator[stripe.StripeClient]:
    stripe.enable_telemetry = False
    http = stripe.HTTPXClient(timeout=give_up_seconds)
    yield stripe.StripeClient(
        "sk_test_key", base_addresses={"api": url}, http_client=http, max_network_retries=0
    )
    await http.close_async()  # type: ignore[no-untyped-call]
    http.close()  # type: ignore[no-untyped-call]
