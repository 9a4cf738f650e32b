"""A connection whose commits end, and are not called made where a standby may lack them."""

import asyncio
from typing import Any

from psycopg import AsyncConnection
from psycopg.errors import Diagnostic, TransactionResolutionUnknown
from psycopg.pq.abc import PGconn
from psycopg.rows import TupleRow

# While a synchronous standby is away PostgreSQL waits for it for ever: time-outs of statements are
# over when a transaction commits.
COMMIT_SECONDS = 20.0
# Where PostgreSQL warns that it has stopped waiting for the standby. Texts are translated.
_GAVE_UP_WAITING = "SyncRepWaitForLSN"


class Connection(AsyncConnection[TupleRow]):
    """Raises TransactionResolutionUnknown when the standby may not have what was committed.

    Somebody has cancelled the wait for it, which is no error to PostgreSQL but a warning; or it
    took too long. If that standby is promoted, it has none of it.
    """

    def __init__(self, pgconn: PGconn, *arguments: Any, **named: Any) -> None:
        super().__init__(pgconn, *arguments, **named)
        self._is_alone = False
        self.add_notice_handler(self._hear)

    async def commit(self) -> None:
        """Commit. Whoever asks again afterwards finds a key, or does it where there is none."""
        self._is_alone = False
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await super().commit()
        except TimeoutError as late:
            raise TransactionResolutionUnknown("nobody knows whether it is committed") from late
        if self._is_alone:
            raise TransactionResolutionUnknown("it is committed, but perhaps on this server only")

    def _hear(self, notice: Diagnostic) -> None:
        self._is_alone = self._is_alone or notice.source_function == _GAVE_UP_WAITING
