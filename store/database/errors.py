"""The errors that say that PostgreSQL is away, or is not one that this code can use."""

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# What SQLAlchemy and psycopg raise when PostgreSQL cannot be reached or does not answer in time.
DATABASE_GONE = (OperationalError, InterfaceError, PoolTimeout, TimeoutError, ConnectionError)


class Unusable(Exception):
    """PostgreSQL answers, and this code cannot work with it. The text says why, to a person."""


def is_read_only(error: BaseException) -> bool:
    """Return whether no session was made because the server is read-only, which libpq only says."""
    return "session is read-only" in str(error)


def reason_of(error: BaseException) -> str:
    """Return in a line why there is no connection, or the name of another error.

    What statements are refused for may name what rows hold, so that is not told.
    """
    if isinstance(error, DBAPIError):
        is_refusal = error.statement is None and error.orig is not None
        return in_a_line(error.orig) if is_refusal else type(error).__name__
    return type(error).__name__


def in_a_line(error: BaseException | None) -> str:
    """Return what an error says, without its line breaks."""
    return " ".join(str(error).split())
