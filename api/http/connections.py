"""Connections: how many there are, how long each may send, and how much all of them may hold.

uvicorn waits for a head or a body as long as its sender likes, and keeps whatever comes. Whoever
sends nothing must not keep those waiting who send something: where room is short, the connection
goes that has been without a request for longest, then the body that has been coming for longest.
"""

import asyncio
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.http.heads import LARGEST_HEAD, HeadTooLarge, size_of
from api.http.problems import Malformed, Unavailable, refused
from api.http.security_headers import OF_DATA
from billing.errors import BillingError

# Longer than proxies keep connections (mostly 60 s). If the API closed a connection while a proxy
# sends a request on it, that request would be lost.
KEEP_ALIVE_SECONDS = 75
# Requests that a client may send before it has read an answer: each is parsed at once.
MOST_PIPELINED = 16
_TELL_EVERY_SECONDS = 60.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the connections of one API process may do.

    `upload_bytes` is what bodies may hold that are not answered yet, over all requests.
    """

    connections: int = 2000
    head_seconds: float = 5.0
    body_seconds: float = 10.0
    upload_bytes: int = 64 * 1024 * 1024


class TooSlow(BillingError):
    """The request has not come in time."""

    code = "too_slow"
    status = 408
    title = "The request took too long to come"


class _Reads(StrEnum):
    """What comes next from a client."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"


class Open:
    """All connections of a server. Those who may go for others come first in each of the two."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.without_request: dict[BoundedConnection, None] = {}
        self.uploading: dict[BoundedConnection, None] = {}
        self.held = 0
        self._told: dict[str, float] = {}

    def make_room_for(self, one: "BoundedConnection") -> None:
        """Let another connection go for a new one, or the new one where all others are busy."""
        self._tell("there are too many connections", most=self.bounds.connections)
        other = _first(self.without_request) or _first(self.uploading) or one
        other.refuse(Unavailable("there are too many connections"))

    def make_room_for_bodies(self) -> None:
        """Let the uploads go that have been coming for longest."""
        self._tell("uploads hold too much", most_bytes=self.bounds.upload_bytes)
        while self.held > self.bounds.upload_bytes and (other := _first(self.uploading)):
            other.refuse(Unavailable("too much is being uploaded"))

    def _tell(self, what: str, **numbers: int) -> None:
        """Log what is short, once a minute: it is not for its cause to fill the log."""
        now = time.monotonic()
        if now - self._told.get(what, -_TELL_EVERY_SECONDS) >= _TELL_EVERY_SECONDS:
            self._told[what] = now
            log.warning(what, **numbers)


def protocol(bounds: Bounds) -> type[asyncio.Protocol]:
    """Return the protocol of one server, for uvicorn's `http`."""
    return type("Connection", (BoundedConnection,), {"_open": Open(bounds)})


class BoundedConnection(HttpToolsProtocol):
    """One connection. It is closed when a head, a body or a reader is late, and says so."""

    _open: ClassVar[Open]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; too many let another go. A silent one is closed as an idle one is."""
        super().connection_made(transport)
        self._reads = _Reads.NOTHING
        self._has_changed = False
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._held = 0
        self._refusal: BillingError | None = None
        if len(self.connections) > self._open.bounds.connections:
            self._open.make_room_for(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._leave()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read what has come; whatever comes on an idle connection is the begin of a head."""
        if self._reads is _Reads.NOTHING and not self._is_answering():
            self._begin(_Reads.HEAD)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._reads is _Reads.HEAD and self._head_bytes > LARGEST_HEAD:
            self.refuse(HeadTooLarge())
        self._watch()

    def on_message_begin(self) -> None:
        """Wait for a head from now on."""
        super().on_message_begin()
        self._begin(_Reads.HEAD)

    def on_headers_complete(self) -> None:
        """Start the request, and wait for its body from now on. Raise what the parser ends by."""
        if self._head_bytes > LARGEST_HEAD and size_of(self.url, self.headers) > LARGEST_HEAD:
            self._refusal = HeadTooLarge()
            raise self._refusal
        if len(self.pipeline) >= MOST_PIPELINED:
            self._refusal = Malformed("too many requests were sent before their answers were read")
            raise self._refusal
        self._open.without_request.pop(self, None)
        super().on_headers_complete()
        self._begin(_Reads.BODY)

    def on_body(self, body: bytes) -> None:
        """Keep a part of a body, until the request is answered."""
        super().on_body(body)
        if not self.cycle.response_complete:
            self._hold(len(body))
            self._open.uploading.setdefault(self)
            if self._open.held > self._open.bounds.upload_bytes:
                self._open.make_room_for_bodies()

    def on_message_complete(self) -> None:
        """Wait for nothing: the request is all there."""
        super().on_message_complete()
        self._open.uploading.pop(self, None)
        self._head_bytes = 0
        self._begin(_Reads.NOTHING)

    def on_response_complete(self) -> None:
        """Give back what the body held, and go on to what comes next."""
        self._release()
        self._hold(sum(len(cycle.body) for cycle, _ in self.pipeline))
        super().on_response_complete()
        self._watch()
        # What is written is sent in this round of the loop, if the client reads.
        self.loop.call_soon(self._time_reader)

    def pause_writing(self) -> None:
        """Give a client some time to read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._open.bounds.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        if not self.transport.is_closing():
            self.transport.set_write_buffer_limits()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: whoever asks for another protocol goes on by HTTP, and fills no log."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self.refuse(self._refusal or Malformed(msg))

    def refuse(self, refusal: BillingError) -> None:
        """Answer if nothing else is being answered, close, and tell the application."""
        if self._may_answer() and not self.transport.is_closing():
            self.transport.write(self._answer_with(refusal))
        if self._is_answering():
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._leave()
        self.transport.close()
        self._time_reader()

    def _time_reader(self) -> None:
        """Give a client some time for an answer that it has not read to its end.

        A transport asks to pause above 64 KiB only, and once it is closing it waits for ever.
        """
        if self._unread is not None or not self.transport.get_write_buffer_size():
            return
        if self.transport.is_closing():
            wait = self._open.bounds.body_seconds
            self._unread = self.loop.call_later(wait, self.transport.abort)
        else:
            self.transport.set_write_buffer_limits(high=0)

    def _begin(self, reads: _Reads) -> None:
        self._reads = reads
        self._has_changed = True

    def _watch(self) -> None:
        """Time what is waited for by now, and let the server know what may go for others."""
        if self.transport.is_closing():
            return
        if self._has_changed:
            self._has_changed = False
            self._time()
        if self._reads is _Reads.BODY:
            self._open.uploading.setdefault(self)
        elif not self._is_answering():
            self._open.without_request.setdefault(self)
            if self._reads is _Reads.NOTHING and self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )

    def _time(self) -> None:
        """Begin to wait for the rest of a head or body, or for nothing any more."""
        if self._late is not None:
            self._late.cancel()
            self._late = None
        bounds = self._open.bounds
        if self._reads is _Reads.HEAD:
            self._late = self.loop.call_later(bounds.head_seconds, self._is_late)
        elif self._reads is _Reads.BODY:
            self._late = self.loop.call_later(bounds.body_seconds, self._is_late)

    def _is_late(self) -> None:
        """Close; but what was sent before is answered first."""
        if self._reads is _Reads.HEAD and self._is_answering():
            self._time()
        else:
            self.refuse(TooSlow(f"the {self._reads} of the request did not come in time"))

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _may_answer(self) -> bool:
        """Return whether the next answer is to the request that is being read."""
        if self._reads is _Reads.BODY:
            return not self.cycle.response_started and not self.pipeline
        return self._reads is _Reads.HEAD and not self._is_answering()

    def _answer_with(self, refusal: BillingError) -> bytes:
        answer = refused(refusal)
        headers = [*self.server_state.default_headers, *answer.raw_headers, *OF_DATA, _CLOSE]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        return STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body)

    def _hold(self, size: int) -> None:
        self._held += size
        self._open.held += size

    def _release(self) -> None:
        self._open.held -= self._held
        self._held = 0

    def _leave(self) -> None:
        self._begin(_Reads.NOTHING)
        self._time()
        self._open.without_request.pop(self, None)
        self._open.uploading.pop(self, None)
        self._release()


_CLOSE = (b"connection", b"close")


def _first(connections: dict[BoundedConnection, None]) -> BoundedConnection | None:
    return next(iter(connections), None)
