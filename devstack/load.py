"""Generate load at little cost: requests are prepared, and connections are kept alive.

A general HTTP client would use more of the two cores than the API that it measures.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_RETRY_AFTER_SECONDS = 0.1
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Shot:
    """One request that was answered.

    `seconds` counts from when the request was due: while a server stalls, the requests that cannot
    be sent wait too.
    """

    request: int
    status: int
    seconds: float


def post_request(url: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the bytes of a POST."""
    target = urlsplit(url)
    head = {
        "Host": target.netloc,
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **headers,
    }
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    return "\r\n".join(lines).encode() + _END_OF_HEAD + body


async def fire(
    url: str,
    requests: Sequence[bytes],
    *,
    connections: int = 32,
    per_second: float | None = None,
    give_up_seconds: float = 0.0,
    answered: Callable[[Shot], None] = lambda _: None,
) -> list[Shot]:
    """Send all requests in order, each as soon as a connection is free; return a shot for each.

    With `per_second` each request waits until it is due. A request without an answer, or answered
    by 503, is sent again for `give_up_seconds`, as providers do. After that the error is raised, or
    the 503 is the answer. `answered` is called with each shot.
    """
    address = urlsplit(url)
    began = time.perf_counter()
    due = _schedule(len(requests), began, per_second)
    gun = _Gun(address.hostname or "", address.port or 80, requests, give_up_seconds, answered)
    shots = await asyncio.gather(*(gun.fire(due) for _ in range(connections)))
    return sorted((shot for some in shots for shot in some), key=lambda shot: shot.request)


def percentile(shots: Sequence[Shot], fraction: float) -> float:
    """Return the time in milliseconds within which this fraction of the requests was answered."""
    times = sorted(shot.seconds for shot in shots)
    return times[min(int(len(times) * fraction), len(times) - 1)] * 1000


def _schedule(count: int, began: float, per_second: float | None) -> Iterator[tuple[int, float]]:
    for number in range(count):
        yield number, (began + number / per_second if per_second else 0.0)


@dataclass(frozen=True, slots=True)
class _Gun:
    host: str
    port: int
    requests: Sequence[bytes]
    give_up_seconds: float
    answered: Callable[[Shot], None]

    async def fire(self, due: Iterator[tuple[int, float]]) -> list[Shot]:
        shots: list[Shot] = []
        connection = _Connection(self.host, self.port)
        for number, at in due:
            if at:
                await asyncio.sleep(max(at - time.perf_counter(), 0))
            since = at or time.perf_counter()
            status = await self._until_taken(connection, self.requests[number])
            shots.append(Shot(number, status, time.perf_counter() - since))
            self.answered(shots[-1])
        connection.close()
        return shots

    async def _until_taken(self, connection: "_Connection", request: bytes) -> int:
        give_up_at = time.perf_counter() + self.give_up_seconds
        while True:
            may_retry = time.perf_counter() < give_up_at
            try:
                status = await connection.exchange(request)
            except (OSError, asyncio.IncompleteReadError):
                connection.close()
                if not may_retry:
                    raise
            else:
                if status != 503 or not may_retry:  # noqa: PLR2004
                    return status
            await asyncio.sleep(_RETRY_AFTER_SECONDS)


class _Connection:
    """One connection that is kept alive, and opened when it is needed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> int:
        """Send one request and read its answer to the end; return the status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(_END_OF_HEAD)
        lines = head.lower().split(b"\r\n")
        lengths = [int(line[15:]) for line in lines if line.startswith(b"content-length:")]
        await reader.readexactly(lengths[0] if lengths else 0)
        if b"connection: close" in lines:
            self.close()
        return int(lines[0].split(b" ")[1])

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
