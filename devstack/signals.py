"""SIGINT and SIGTERM as an orderly end of a task."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def until_signalled() -> Iterator[None]:
    """Run the body until SIGINT or SIGTERM cancels it; its cleanup runs, then we return normally.

    Further signals are ignored: the cleanup has its own time limits, and an impatient second
    Ctrl-C would cut PostgreSQL's shutdown short.
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
