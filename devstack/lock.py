"""An exclusive lock on a file, held by a process and by the children that inherit it."""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from devstack.errors import AlreadyRunning

# A server whose supervisor was killed by SIGKILL shuts down within this time.
ORPHAN_SECONDS = 20.0


def hold(path: Path) -> tuple[int, ...]:
    """Lock `path`. Return its descriptor in a tuple, which is empty if another process holds it.

    A child that inherits the descriptor keeps the lock until it ends. So if the lock of a data
    directory is free, its former server has ended, even if its supervisor was killed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return ()
    return (descriptor,)


async def hold_after_orphans(path: Path) -> tuple[int, ...]:
    """Lock `path`. Wait for a server whose supervisor was killed, for it is shutting down.

    Raise AlreadyRunning if the server that holds it keeps running.
    """
    deadline = time.monotonic() + ORPHAN_SECONDS
    while not (held := hold(path)):
        if time.monotonic() > deadline:
            raise AlreadyRunning(path.parent, "another server")
        await asyncio.sleep(0.05)
    return held


def release(held: tuple[int, ...]) -> None:
    """Give the lock up. It is free once the last child that inherited it has ended too."""
    for descriptor in held:
        os.close(descriptor)
