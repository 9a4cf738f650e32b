"""Settle a batch of calls or messages: what fails alone is set aside, and stops no other."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from operator import attrgetter
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.temporal.isolation import Apart, apart
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


async def settle_apart(
    connection: AsyncConnection,
    due: Sequence[One],
    settle: Callable[[Sequence[One]], Awaitable[Sequence[Bill]]],
) -> Apart[One, Bill]:
    """Settle a batch, all at once if that works, or else by halves: what fails alone is set aside.

    Each part is a savepoint of the caller's transaction.
    """

    async def settle_part(part: Sequence[One]) -> Sequence[Bill]:
        async with journal.savepoint(connection):
            return await settle(part)

    return await apart(due, settle_part, attrgetter("key"))


async def write_apart(
    connection: AsyncConnection,
    event_ids: Collection[int],
    write: Callable[[Collection[int]], Awaitable[None]],
) -> frozenset[int]:
    """Change events; return those that PostgreSQL cannot write, whatever they are about.

    Each part is a savepoint of the caller's transaction.
    """

    async def write_part(part: Sequence[int]) -> Sequence[int]:
        async with journal.savepoint(connection):
            await write(part)
        return part

    written = await apart(sorted(event_ids), write_part, "event {}".format, one_is_alone=True)
    return frozenset(written.alone)
