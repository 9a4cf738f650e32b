"""No client stalls the others: heads, bodies and readers are timed, what all hold is bounded."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple

import pytest
from fastapi import FastAPI, Response

from api.http.connections import MOST_PIPELINED, Bounds
from api.http.heads import LARGEST_HEAD
from tests.support.answers import accepted, eventually
from tests.support.api_server import Api, listening, serving
from tests.support.signed_webhooks import VAPI_SECRETS, report

MIB = 1024 * 1024
BRIEF = Bounds(head_seconds=0.1, body_seconds=0.1)
PATIENCE_SECONDS = 120.0
UPLOAD = "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n"
# It waits behind a key that is looked up, or is answered before its body is read.
V1_UPLOAD = (
    "POST /v1/api-keys HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


class Client(NamedTuple):
    """One connection to an API, on which anything may be written."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def end(self) -> bytes:
        """Read until the server closes; return what it has said."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def is_closed_with(self, status: int, code: str) -> None:
        head, _, body = (await self.end()).partition(b"\r\n\r\n")
        assert head.split(b" ")[1] == str(status).encode(), head
        assert b"content-type: application/problem+json" in head
        assert b"connection: close" in head
        assert (b"retry-after: " in head) is (status == 503)
        assert json.loads(body)["code"] == code


@asynccontextmanager
async def client(api: Api, text: str = "", body: bytes = b"") -> AsyncIterator[Client]:
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text.encode() + body)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


@pytest.fixture(scope="module")
async def brief(api: Api) -> AsyncIterator[Api]:
    """An API that waits for nobody."""
    async with serving(api.engine, api.temporal, bounds=BRIEF) as running:
        yield running


@pytest.mark.parametrize("sent", ["GET /health HTTP/1.1\r\nX-Slow: ", "\r\n"])
async def test_a_head_that_does_not_come_in_time_is_answered_408(brief: Api, sent: str) -> None:
    async with client(brief, sent) as slow:
        await slow.is_closed_with(408, "too_slow")


@pytest.mark.parametrize("begun", ["GET /health HTTP/1.1\r\n", UPLOAD.format(MIB)])
async def test_what_comes_bit_by_bit_has_no_more_time(brief: Api, begun: str) -> None:
    async with client(brief, begun) as slow:
        ended = asyncio.create_task(slow.end())
        sent = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not ended.done():
                slow.writer.write(b"X-Y: z\r\n")
                sent += 1
                await asyncio.sleep(0.01)
    # Long before the head is too large, or the body all there.
    assert sent < LARGEST_HEAD // 16


@pytest.mark.parametrize("kind", ["webhook", "v1"])
async def test_a_body_that_does_not_come_in_time_is_answered_408(brief: Api, kind: str) -> None:
    authorization = brief.operator.headers["authorization"]
    v1 = V1_UPLOAD.format(authorization=authorization, length=20)
    async with client(brief, UPLOAD.format(20) if kind == "webhook" else v1, b"{") as slow:
        await slow.is_closed_with(408, "too_slow")


async def test_who_is_refused_may_not_go_on_sending_for_ever(api: Api) -> None:
    a_second = Bounds(head_seconds=1, body_seconds=1)
    async with (
        serving(api.engine, api.temporal, bounds=a_second) as short,
        client(short, V1_UPLOAD.format(authorization="x", length=20)) as slow,
    ):
        said = await slow.end()
    assert said.startswith(b"HTTP/1.1 401 ")
    assert b"408" not in said


async def test_who_does_not_read_its_answers_is_left(brief: Api) -> None:
    host, _, port = brief.url.removeprefix("http://").partition(":")
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))

        async def is_left() -> bool:
            try:
                deaf.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        await eventually(is_left)


@pytest.mark.parametrize("then", ["", "hello\r\n\r\n"], ids=["kept", "refused"])
async def test_who_leaves_little_unread_is_left_as_well(then: str) -> None:
    """Less than a transport calls much. Who reads after all finds that the answer has no end."""
    app = FastAPI()

    @app.get("/")
    async def some() -> Response:
        return Response(b"x" * 40_000)

    async with listening(app, BRIEF, send_buffer=4096) as url:
        host, _, port = url.removeprefix("http://").partition(":")

        async def is_left() -> bool:
            with socket.socket() as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect((host, int(port)))
                deaf.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + then.encode())
                await asyncio.sleep(5 * BRIEF.body_seconds)
                deaf.setblocking(False)
                reader, writer = await asyncio.open_connection(sock=deaf)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    with suppress(ConnectionResetError):
                        try:
                            await reader.readexactly(40_000)
                        except asyncio.IncompleteReadError:
                            return True
                        finally:
                            writer.close()
            return False

        await eventually(is_left)


async def test_a_connection_may_be_idle_for_longer_than_a_head(brief: Api) -> None:
    async with client(brief) as quiet:
        await asyncio.sleep(3 * BRIEF.head_seconds)
        for _ in range(2):
            quiet.writer.write(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 404 " in await quiet.reader.readuntil(b'"not_found"}')
            await asyncio.sleep(2 * BRIEF.head_seconds)


@pytest.mark.parametrize("ends", ["", "\r\n\r\n"], ids=["endless", "at once"])
@pytest.mark.parametrize("part", ["url", "headers"])
async def test_a_head_that_is_too_large_is_answered_431(api: Api, part: str, ends: str) -> None:
    lines = "X-Y: z\r\n" * (LARGEST_HEAD // 8 + 1) if part == "headers" else "Host: x"
    asked = "x" * LARGEST_HEAD if part == "url" else ""
    async with client(api, f"GET /health?{asked} HTTP/1.1\r\n{lines}{ends}") as large:
        await large.is_closed_with(431, "head_too_large")


async def test_what_is_no_http_is_a_problem_too(api: Api) -> None:
    async with client(api, "hello\r\n\r\n") as other:
        await other.is_closed_with(400, "malformed")


async def test_who_sends_request_upon_request_without_reading_is_cut_off(api: Api) -> None:
    asked = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    async with client(api, asked * 1000) as greedy:
        said = await greedy.end()
    assert said.count(b"HTTP/1.1 ") <= MOST_PIPELINED + 2


async def test_of_too_many_connections_those_go_that_ask_for_nothing(api: Api) -> None:
    bounds = Bounds(connections=5)
    async with AsyncExitStack() as opened:
        few = await opened.enter_async_context(serving(api.engine, api.temporal, bounds=bounds))
        first = await opened.enter_async_context(client(few))
        uploading = await opened.enter_async_context(client(few, UPLOAD.format(20)))
        for text in ["", "GET /slow"] * 10:
            await opened.enter_async_context(client(few, text))
            assert accepted(await few.send(report())) == "accepted"
        assert await first.end() == b""
        uploading.writer.write(b"x" * 20)
        assert b" 401 " in await uploading.reader.readuntil(b"\r\n")


@pytest.mark.parametrize("kind", ["webhook", "v1"])
async def test_of_uploads_that_hold_too_much_the_oldest_are_answered_503(
    api: Api, kind: str
) -> None:
    bounds = Bounds(upload_bytes=2 * MIB)
    async with serving(api.engine, api.temporal, bounds=bounds) as small:
        authorization = small.operator.headers["authorization"]
        length = MIB if kind == "webhook" else 60 * 1024
        head = UPLOAD.format(length) if kind == "webhook" else V1_UPLOAD.format(
            authorization=authorization, length=length
        )  # fmt: skip
        async with AsyncExitStack() as held:
            uploads = [
                await held.enter_async_context(client(small, head, b" " * (length - 1)))
                for _ in range(1 + bounds.upload_bytes // length)
            ]
            await uploads[0].is_closed_with(503, "unavailable")
            assert accepted(await small.send(report())) == "accepted"


async def test_an_upload_that_follows_another_request_at_once_is_held_as_well(api: Api) -> None:
    """The first answer gives back what its own request held, and no more."""
    bounds = Bounds(upload_bytes=MIB)
    length = 120_000
    before = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    async with serving(api.engine, api.temporal, bounds=bounds) as small, AsyncExitStack() as held:
        uploads = []
        for _ in range(1 + bounds.upload_bytes // length):
            text = before + UPLOAD.format(2 * length)
            one = await held.enter_async_context(client(small, text, b" " * length))
            assert b" 404 " in await one.reader.readuntil(b'"not_found"}')
            uploads.append(one)
        await uploads[0].is_closed_with(503, "unavailable")


async def test_what_was_held_is_given_back(api: Api) -> None:
    bounds = Bounds(upload_bytes=2 * MIB)
    async with serving(api.engine, api.temporal, bounds=bounds) as small:
        for _ in range(4):
            async with client(small, UPLOAD.format(MIB), b" " * (MIB - 1)):
                pass
            answer = await small.anonymous.post("/webhooks/stripe", content=b" " * MIB)
            assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/webhooks/stripe", "/webhooks/vapi", "/v1/api-keys"])
async def test_an_upload_that_is_broken_off_is_no_traceback(
    api: Api, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    authorization, source = api.operator.headers["authorization"], path.rpartition("/")[2]
    if source == "vapi":
        authorization = f"Bearer {VAPI_SECRETS[0].decode()}"
    head = V1_UPLOAD.format(authorization=authorization, length=20)
    caplog.set_level(logging.WARNING, logger="uvicorn.error")
    before = await api.counted()
    async with client(api, head.replace("/v1/api-keys", path) + "{"):
        await asyncio.sleep(0.05)

    async def is_counted() -> bool:
        counted = await api.counted()
        return counted != before

    if path.startswith("/webhooks/"):
        await eventually(is_counted)
        broken_off = (await api.counted())[source, "broken_off"]
        assert broken_off == before.get((source, "broken_off"), 0) + 1
    await asyncio.sleep(0.05)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []
