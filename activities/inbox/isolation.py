"""What fails alone while its neighbours pass is set aside, and stops none of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as SqlTimeout
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from billing.calls.call import CallBill
from billing.messages.message import MessageBill
from store.ledger import journal


class Keyed(Protocol):
    """What the log can name."""

    @property
    def key(self) -> str:
        """Its name."""


One = TypeVar("One", bound=Keyed)
Bill = TypeVar("Bill", bound=CallBill | MessageBill)


@dataclass(frozen=True, slots=True)
class Apart(Generic[One, Bill]):
    """The bills of what could be settled, and what failed alone while others passed."""

    bills: tuple[Bill, ...]
    alone: tuple[One, ...]


async def settle_apart(
    connection: AsyncConnection,
    due: Sequence[One],
    settle: Callable[[Sequence[One]], Awaitable[Sequence[Bill]]],
) -> Apart[One, Bill]:
    """Settle a batch, all at once if that works, or else by halves: what fails alone is set aside.

    Each part is a savepoint of the caller's transaction. If nothing can be settled, and not for its
    data, it is the database that is bad, or our code: then raise, so that nothing moves and the
    activity is seen to fail.
    """
    halves = _Halves(connection, settle)
    if due:
        await halves.settle(due)
    failures = [failure for _, failure in halves.failed]
    if len(failures) == len(due) and not all(map(_is_of_data, failures)):
        raise failures[0]
    for one, failure in halves.failed:
        activity.logger.error("%s is set aside: %s", one.key, type(failure).__name__)
    return Apart(tuple(halves.bills), tuple(one for one, _ in halves.failed))


class _Halves(Generic[One, Bill]):
    """Settles a batch by ever smaller parts, down to each one that fails alone."""

    def __init__(
        self,
        connection: AsyncConnection,
        settle: Callable[[Sequence[One]], Awaitable[Sequence[Bill]]],
    ) -> None:
        self._connection = connection
        self._settle = settle
        self.bills: list[Bill] = []
        self.failed: list[tuple[One, Exception]] = []

    async def settle(self, part: Sequence[One]) -> None:
        """Settle this part, or what can be settled of it."""
        try:
            async with journal.savepoint(self._connection):
                found = await self._settle(part)
        except Exception as failure:
            if _is_away(failure):
                raise
            activity.heartbeat()
            await self._divide(part, failure)
        else:
            self.bills += found

    async def _divide(self, part: Sequence[One], failure: Exception) -> None:
        if len(part) == 1:
            self.failed.append((part[0], failure))
            return
        middle = len(part) // 2
        await self.settle(part[:middle])
        await self.settle(part[middle:])


def _is_away(failure: Exception) -> bool:
    """Return whether the database is away, or wants the whole transaction again."""
    return isinstance(failure, OperationalError | InterfaceError | SqlTimeout)


def _is_of_data(failure: Exception) -> bool:
    """Return whether a failure can only come from the data: a bound, an overflow, a value."""
    cause = failure.orig if isinstance(failure, StatementError) else failure
    return isinstance(failure, DataError | IntegrityError) or isinstance(
        cause, TypeError | ValueError | ArithmeticError
    )
