"""What a transaction has done with money, for whoever opened it to tell once it is committed."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import Operation
from billing.webhook import Source

_OPTION = "callwallet_journal"


@dataclass(slots=True)
class Journal:
    """Money operations with their answers, and how old webhooks were that have had their effect.

    Ages are in seconds, by the database's clock, when the transaction began.
    """

    operations: list[Operation] = field(default_factory=list)
    ages: list[tuple[Source, float]] = field(default_factory=list)


async def keep(connection: AsyncConnection) -> Journal:
    """Have everything written down that is done on this connection, for as long as it is held."""
    journal = Journal()
    await connection.execution_options(**{_OPTION: journal})
    return journal


def write_down(
    connection: AsyncConnection,
    operations: Iterable[Operation] = (),
    ages: Iterable[tuple[Source, float]] = (),
) -> None:
    """Write into the journal that is kept on a connection, if one is."""
    journal = _of(connection)
    if journal is not None:
        journal.operations += operations
        journal.ages += ages


def _of(connection: AsyncConnection) -> Journal | None:
    if connection.sync_connection is None:
        return None
    journal: Journal | None = connection.sync_connection.get_execution_options().get(_OPTION)
    return journal
