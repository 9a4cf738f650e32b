"""A journal of what a transaction does with money, to be logged and counted after its commit.

It hangs on the connection, so that it need not be passed through every function that posts.
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.inbox.webhook_event import Source
from billing.ledger.entry import Operation

_OPTION = "callwallet_journal"


@dataclass(slots=True)
class Journal:
    """Money operations with their answers, and the ages of the webhooks that were handled.

    Ages are in seconds, by the database's clock, at the begin of the transaction.
    """

    operations: list[Operation] = field(default_factory=list)
    ages: list[tuple[Source, float]] = field(default_factory=list)


async def keep(connection: AsyncConnection) -> Journal:
    """Attach a new journal to a connection and return it."""
    journal = Journal()
    await connection.execution_options(**{_OPTION: journal})
    return journal


@asynccontextmanager
async def savepoint(connection: AsyncConnection) -> AsyncIterator[None]:
    """Do something in a savepoint. What fails is undone, in the journal as well, and raised."""
    journal = _of(connection) or Journal()
    operations, ages = len(journal.operations), len(journal.ages)
    try:
        async with connection.begin_nested():
            yield
    except BaseException:
        del journal.operations[operations:], journal.ages[ages:]
        raise


def write_down(
    connection: AsyncConnection,
    operations: Iterable[Operation] = (),
    ages: Iterable[tuple[Source, float]] = (),
) -> None:
    """Write into the journal of a connection, if it has one."""
    journal = _of(connection)
    if journal is not None:
        journal.operations += operations
        journal.ages += ages


def _of(connection: AsyncConnection) -> Journal | None:
    if connection.sync_connection is None:
        return None
    journal: Journal | None = connection.sync_connection.get_execution_options().get(_OPTION)
    return journal
