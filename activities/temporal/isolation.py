"""What fails alone while its neighbours pass is set aside, and stops none of them.

This is the one place where any exception may be caught.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import (
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as SqlTimeout
from temporalio import activity

One = TypeVar("One")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Alone(Generic[One]):
    """What failed alone, and by what."""

    one: One
    failure: Exception

    @property
    def problem(self) -> str:
        """What is said of it. The failure's own text may have personal data in it."""
        return type(self.failure).__name__


@dataclass(frozen=True, slots=True)
class Apart(Generic[One, Result]):
    """What was done, and what failed alone while the rest was done."""

    done: tuple[Result, ...]
    failed: tuple[Alone[One], ...] = ()

    @property
    def alone(self) -> tuple[One, ...]:
        """What failed alone."""
        return tuple(failed.one for failed in self.failed)


async def apart(
    batch: Sequence[One],
    do: Callable[[Sequence[One]], Awaitable[Sequence[Result]]],
    name: Callable[[One], str],
    *,
    one_is_alone: bool = False,
) -> Apart[One, Result]:
    """Do something with a batch, all at once if that works, or else by halves.

    What fails alone is set aside. `do` undoes what it has begun when it raises. If nothing can be
    done, and not for its data, it is an outage or our code: then raise, so that nothing moves and
    the activity is seen to fail. `name` is for the log. With `one_is_alone` a batch of one counts
    as alone whatever its error: for what is told, and what the next run tries again.
    """
    done: list[Result] = []
    failed: list[Alone[One]] = []
    parts = [batch] if batch else []
    while parts:
        part = parts.pop()
        try:
            done += await do(part)
        except Exception as failure:
            if is_away(failure):
                raise
            activity.heartbeat()
            middle = len(part) // 2
            if middle:
                parts += [part[middle:], part[:middle]]
            else:
                failed.append(Alone(part[0], failure))
    result = Apart(tuple(done), tuple(failed))
    is_all = len(failed) == len(batch) > int(one_is_alone)
    return _set_aside(result, name, is_all=is_all)


async def each_apart(
    batch: Sequence[One],
    do: Callable[[One], Awaitable[Result]],
    name: Callable[[One], str],
    is_outage: Callable[[Exception], bool] = lambda _: False,
    *,
    all_may_fail: bool = False,
) -> Apart[One, Result]:
    """Do something with each of a batch, one after another: for what asks others.

    What fails alone is set aside. Raise what `is_outage` says is of no one alone; and if nothing
    could be done, and not for its data. With `all_may_fail` the caller decides what that means.
    """
    done: list[Result] = []
    failed: list[Alone[One]] = []
    for one in batch:
        activity.heartbeat()
        try:
            done.append(await do(one))
        except Exception as failure:
            if is_away(failure) or is_outage(failure):
                raise
            failed.append(Alone(one, failure))
    result = Apart(tuple(done), tuple(failed))
    is_all = len(failed) == len(batch) and not all_may_fail
    return _set_aside(result, name, is_all=is_all)


def is_away(failure: Exception) -> bool:
    """Return whether the database is away, or wants the whole transaction again."""
    return isinstance(failure, OperationalError | InterfaceError | SqlTimeout)


def is_of_data(failure: Exception) -> bool:
    """Return whether a failure can only come from the data: a bound, an overflow, a value."""
    cause = failure.orig if isinstance(failure, StatementError) else failure
    return isinstance(failure, DataError | IntegrityError) or isinstance(
        cause, TypeError | ValueError | ArithmeticError
    )


def _set_aside(
    result: Apart[One, Result], name: Callable[[One], str], *, is_all: bool
) -> Apart[One, Result]:
    """Log what was set aside; raise if that was all, and one of them not for its data."""
    others = [one.failure for one in result.failed if not is_of_data(one.failure)]
    if is_all and others:
        raise others[0]
    for failed in result.failed:
        activity.logger.error("%s is set aside: %s", name(failed.one), failed.problem)
    return result
