"""Make a stand-in misbehave: errors, silence and broken connections, before or after the work."""

import asyncio
import socket
import struct
from collections.abc import Callable, MutableMapping
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from devstack.providers.storage import Filter, Row, Storage

TRANSPORT = "stand_in.transport"
DELAY = "stand_in.delay_seconds"
STORED_STATUS = "stand_in.stored_status"

Kind = Literal["status", "status_after", "timeout_after", "hang", "reset", "reset_after", "delay"]


class Fault(BaseModel):
    """What goes wrong, where and how often.

    `*_after` does the work first. `delay` holds the request for `seconds` while it is in flight.
    It spares the first `spare` requests; `times` null means until deleted. `stored` makes a Stripe
    `status_after` the answer that the idempotency key replays, as Stripe does with its own 500s;
    otherwise only the answer is lost.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    method: str = "*"
    path: str = "*"
    status: int = Field(default=500, ge=400, le=599)
    retry_after: int | None = None
    headers: dict[str, str] = {}
    seconds: float = 1.0
    times: int | None = Field(default=1, ge=1)
    spare: int = Field(default=0, ge=0)
    stored: bool = False
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Tell whether this request is to fail; `path` may hold `*`."""
        spent = self.times is not None and self.hits >= self.times
        return not spent and self.method in ("*", method) and fnmatchcase(path, self.path)


class Faults:
    """The faults set for one stand-in, oldest first; stored, so that a restart keeps them."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._kind = f"{name}.fault"
        stored = storage.select(Filter(self._kind))
        self.all = [Fault.model_validate(data) for data in reversed(stored)]

    def add(self, fault: Fault) -> None:
        """Set one more fault."""
        self.all.append(fault)
        self._save(len(self.all) - 1)

    def clear(self) -> None:
        """Behave again."""
        self.all.clear()
        self._storage.delete(self._kind)

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault for this request and count the hit."""
        for number, fault in enumerate(self.all):
            if fault.matches(method, path):
                spared = fault.spare > 0
                fault.spare, fault.hits = fault.spare - spared, fault.hits + (not spared)
                self._save(number)
                return None if spared else fault
        return None

    def _save(self, number: int) -> None:
        data = self.all[number].model_dump()
        row = Row(kind=self._kind, id=f"{number:09}", created=0, updated=0, data=data)
        self._storage.save(row)


class ResettableProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol that also hands the app its transport, so a fault can cut it."""

    def on_message_begin(self) -> None:
        """Put the connection into the scope of the request that begins."""
        super().on_message_begin()
        extensions: MutableMapping[str, dict[object, object]] = {TRANSPORT: {0: self.transport}}
        # uvicorn declares ASGI's own extensions only, and the specification allows any.
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]


ErrorBody = Callable[[int], tuple[str, bytes]]
"""The provider's own error body for a status: content type and bytes."""


class Misbehaving:
    """ASGI middleware that applies the faults. Control requests never fail."""

    def __init__(self, app: ASGIApp, faults: Faults, error_body: ErrorBody) -> None:
        self._app = app
        self._faults = faults
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or fail it as told."""
        fault = None
        if scope["type"] == "http" and not scope["path"].startswith("/_control"):
            fault = self._faults.take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "delay":
            await self._app({**scope, DELAY: fault.seconds}, receive, send)
        else:
            await self._fail(fault, scope, receive, send)

    async def _fail(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind.endswith("_after"):
            extra = {STORED_STATUS: fault.status} if fault.stored else {}
            await self._app({**scope, **extra}, receive, _discard)
        if fault.kind.startswith("status"):
            await self._answer(fault, send)
            return
        if fault.kind.startswith("reset"):
            _cut(scope)
        await _until_disconnected(receive)

    async def _answer(self, fault: Fault, send: Send) -> None:
        content_type, body = self._error_body(fault.status)
        headers = {"content-type": content_type, "content-length": str(len(body)), **fault.headers}
        if fault.retry_after is not None:
            headers["retry-after"] = str(fault.retry_after)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": fault.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})


async def pause(scope: MutableMapping[str, Any]) -> None:
    """Hold a request that a `delay` fault has hit; apps call it while the request is in flight."""
    await asyncio.sleep(scope.get(DELAY, 0))


async def _discard(message: Message) -> None:
    """Swallow an answer that the client is never to see."""


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(scope: Scope) -> None:
    """Close the connection with a TCP reset: no answer, no goodbye."""
    transport = scope["extensions"][TRANSPORT][0]
    linger_off = struct.pack("ii", 1, 0)
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)
    transport.abort()
