"""End a task in order at SIGINT or SIGTERM."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def until_signalled() -> Iterator[None]:
    """Run the body until SIGINT or SIGTERM cancels it. It cleans up, then we return normally.

    Further signals are ignored: the cleanup has time limits of its own, and a second Ctrl-C would
    interrupt PostgreSQL's shutdown.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    received: list[signal.Signals] = []

    def end(which: signal.Signals) -> None:
        if task and not received:
            task.cancel()
        received.append(which)

    for which in ENDINGS:
        loop.add_signal_handler(which, end, which)
    try:
        yield
    except asyncio.CancelledError:
        if not received or task is None:
            raise
        task.uncancel()
    finally:
        for which in ENDINGS:
            loop.remove_signal_handler(which)
