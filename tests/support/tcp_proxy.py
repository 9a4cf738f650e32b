"""A TCP proxy that can lose what a server answers, as a network does, and lead elsewhere."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class TcpProxy:
    """Passes bytes both ways. What is open stays with its server when it `leads_to` another.

    From the first request on that has `loses_answers_to` in it, nothing comes back, and it hangs
    up.
    """

    leads_to: tuple[str, int]
    port: int = 0
    loses_answers_to: bytes = b""
    lost: int = 0
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self.leads_to)
        self.connections |= {writer, forth}
        try:
            await asyncio.gather(self._answers(back, writer), self._requests(reader, forth))
        except ConnectionError:
            pass
        finally:
            self.connections -= {writer, forth}
            writer.close()
            forth.close()

    async def _requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while received := await reader.read(65536):
            if self.loses_answers_to and self.loses_answers_to in received:
                self.lost += 1
            server.write(received)
            await server.drain()
        server.close()

    async def _answers(self, server: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await server.read(65536):
            if self.lost:
                break
            writer.write(received)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy_before(
    host: str, port: int, tls: ssl.SSLContext | None = None
) -> AsyncIterator[TcpProxy]:
    """Listen at a free port for one server, until the body ends; with `tls`, only to TLS."""
    proxy = TcpProxy((host, port))
    running: set[asyncio.Task[None]] = set()

    def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(proxy.pass_on(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    async with await asyncio.start_server(attend, "127.0.0.1", 0, ssl=tls) as listener:
        proxy.port = listener.sockets[0].getsockname()[1]
        yield proxy
        for writer in list(proxy.connections):
            writer.close()
        await asyncio.gather(*running, return_exceptions=True)
