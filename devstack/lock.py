"""An exclusive lock on a file, held by a process and, when told so, by its children."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from devstack.errors import AlreadyRunning

# A server that its supervisor's kill -9 orphaned shuts down within this time.
ORPHAN_SECONDS = 20.0


def hold(path: Path) -> tuple[int, ...]:
    """Lock `path` and return its descriptor in a tuple, empty when another process holds it.

    A child that inherits the descriptor keeps the lock for as long as it lives. So whoever gets
    the lock of a data directory knows that the former server, orphaned or not, has ended.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return ()
    return (descriptor,)


async def hold_after_orphans(path: Path) -> tuple[int, ...]:
    """Lock `path`, waiting for a server whose supervisor was killed.

    Raises AlreadyRunning when it is not such a one, and keeps running.
    """
    deadline = time.monotonic() + ORPHAN_SECONDS
    while not (held := hold(path)):
        if time.monotonic() > deadline:
            raise AlreadyRunning(path.parent, "another server")
        await asyncio.sleep(0.05)
    return held


def release(held: tuple[int, ...]) -> None:
    """Give the lock up; it is free when the last child that inherited it has ended too."""
    for descriptor in held:
        os.close(descriptor)
