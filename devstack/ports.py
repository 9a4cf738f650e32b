"""Choose ports of 127.0.0.1, and keep them the same from one start to the next."""

import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from secrets import SystemRandom

from devstack.errors import PortTaken
from devstack.files import read_json, write_private

HOST = "127.0.0.1"
# Below the ranges from which Linux and macOS take ports for outgoing connections. Such a connection
# could use the port of a server that is about to be restarted.
CANDIDATES = range(20_000, 30_000)
ATTEMPTS = 5


class Ports:
    """Named ports, remembered in a file, and kept from other stacks until `close`.

    A port is claimed by a UDP socket on the same number. No other stack can have that socket, while
    the TCP port stays free for the server. It ends with the process.
    """

    def __init__(self, file: Path, explicit: Mapping[str, int | None]) -> None:
        self._file = file
        self._explicit = {name: port for name, port in explicit.items() if port is not None}
        self._claims: dict[str, socket.socket] = {}
        self._numbers: dict[str, int] = {}

    def __getitem__(self, name: str) -> int:
        """Return the port that `take` chose. Raise KeyError before that."""
        return self._numbers[name]

    def take(self, name: str) -> int:
        """Claim and return the explicit port, or the one of last time, or a free one.

        Raise PortTaken if the explicit one is not free.
        """
        if name in self._claims:
            return self[name]
        for port in self._candidates(name):
            if claim := _claim(port):
                self._claims[name], self._numbers[name] = claim, port
                self._remember(name, port)
                return port
        raise PortTaken(self._explicit.get(name, CANDIDATES.start))

    def drop(self, taken: PortTaken) -> None:
        """Forget a port that a server could not bind. Raise `taken` if the port was explicit."""
        chosen = {self[name]: name for name in self._claims.keys() - self._explicit.keys()}
        if taken.port not in chosen:
            raise taken
        name = chosen[taken.port]
        self._claims.pop(name).close()
        self._remember(name, None)

    def close(self) -> None:
        """Let others claim the ports; remember their numbers."""
        for claim in self._claims.values():
            claim.close()
        self._claims.clear()

    def _candidates(self, name: str) -> list[int]:
        if name in self._explicit:
            return [self._explicit[name]]
        remembered = read_json(self._file).get(name)
        first = [remembered] if isinstance(remembered, int) else []
        return first + SystemRandom().sample(CANDIDATES, 100)

    def _remember(self, name: str, port: int | None) -> None:
        known = {**read_json(self._file), name: port}
        write_private(self._file, json.dumps(known, indent=1))


async def on_free_ports(ports: Ports, start: Callable[[], Awaitable[None]]) -> None:
    """Run `start`, and again on other ports if another program has taken one meanwhile.

    Raise PortTaken if that port was explicit, or at the sixth try.
    """
    for _ in range(ATTEMPTS):
        try:
            return await start()
        except PortTaken as taken:
            ports.drop(taken)
    return await start()


def is_free(port: int) -> bool:
    """Return whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
    return True


def _claim(port: int) -> socket.socket | None:
    claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        claim.bind((HOST, port))
    except OSError:
        claim.close()
        return None
    if is_free(port):
        return claim
    claim.close()
    return None
