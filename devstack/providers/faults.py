"""Make a stand-in fail: errors, silence and broken connections, before or after the work."""

import asyncio
import socket
import struct
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from devstack.providers.storage import Filter, Row, Storage

TRANSPORT = "stand_in.transport"
DELAY = "stand_in.delay"
STORED_STATUS = "stand_in.stored_status"

Kind = Literal["status", "status_after", "timeout_after", "hang", "reset", "reset_after", "delay"]


class Fault(BaseModel):
    """What goes wrong, where, and how often.

    The kinds `*_after` do the work first. `delay` holds the request for `seconds` while it is in
    flight, or until the faults are deleted. The first `spare` requests do not fail. `times` is how
    many fail; null means until the fault is deleted. With `stored`, Stripe's idempotency key
    replays the error of `status_after`, as Stripe does with its own 500s. Without it only the
    answer is lost.
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
        """Return whether this request is to fail. The fault's path may contain `*`."""
        spent = self.times is not None and self.hits >= self.times
        return not spent and self.method in ("*", method) and fnmatchcase(path, self.path)


class Faults:
    """The faults of one stand-in, oldest first. They are stored, so a restart keeps them."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage = storage
        self._kind = f"{name}.fault"
        stored = storage.select(Filter(self._kind))
        self.all = [Fault.model_validate(data) for data in reversed(stored)]
        self._cleared = asyncio.Event()

    def add(self, fault: Fault) -> None:
        """Add a fault."""
        self.all.append(fault)
        self._save(len(self.all) - 1)

    def clear(self) -> None:
        """Remove all faults."""
        self.all.clear()
        self._storage.delete(self._kind)
        self._cleared.set()
        self._cleared = asyncio.Event()

    def take(self, method: str, path: str) -> Fault | None:
        """Return the first fault for this request, and count the hit; None if it is not to fail."""
        for number, fault in enumerate(self.all):
            if fault.matches(method, path):
                spared = fault.spare > 0
                fault.spare, fault.hits = fault.spare - spared, fault.hits + (not spared)
                self._save(number)
                return None if spared else fault
        return None

    async def hold(self, seconds: float) -> None:
        """Wait for so long, or until all is to be well again."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._cleared.wait(), seconds)

    def _save(self, number: int) -> None:
        data = self.all[number].model_dump()
        row = Row(kind=self._kind, id=f"{number:09}", created=0, updated=0, data=data)
        self._storage.save(row)


class ResettableProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, which also gives the app its transport, so a fault can cut it."""

    def on_message_begin(self) -> None:
        """Put the transport into the scope of the request that begins."""
        super().on_message_begin()
        extensions: MutableMapping[str, dict[object, object]] = {TRANSPORT: {0: self.transport}}
        # uvicorn declares only ASGI's own extensions, but the specification allows any.
        self.scope["extensions"] = extensions  # type: ignore[typeddict-item]


ErrorBody = Callable[[int], tuple[str, bytes]]
"""The provider's own error body for a status: content type and bytes."""


class Misbehaving:
    """ASGI middleware that applies the faults. Requests to `/_control` never fail."""

    def __init__(self, app: ASGIApp, faults: Faults, error_body: ErrorBody) -> None:
        self._app = app
        self._faults = faults
        self._error_body = error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or make it fail as its fault says."""
        fault = None
        if scope["type"] == "http" and not scope["path"].startswith("/_control"):
            fault = self._faults.take(scope["method"], scope["path"])
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "delay":
            held = partial(self._faults.hold, fault.seconds)
            await self._app({**scope, DELAY: held}, receive, send)
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
    """Hold a request that has a `delay` fault. Apps call it while the request is in flight."""
    if held := scope.get(DELAY):
        await held()


async def _discard(message: Message) -> None:
    """Drop a part of an answer, which the client must not get."""


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _cut(scope: Scope) -> None:
    """Close the connection by a TCP reset, without an answer."""
    transport = scope["extensions"][TRANSPORT][0]
    linger_off = struct.pack("ii", 1, 0)
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_off)
    transport.abort()
