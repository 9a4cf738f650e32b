"""The errors that say that PostgreSQL is away."""

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# What SQLAlchemy and psycopg raise when PostgreSQL cannot be reached or does not answer in time.
DATABASE_GONE = (OperationalError, InterfaceError, PoolTimeout, TimeoutError, ConnectionError)


def is_read_only(error: BaseException) -> bool:
    """Return whether no session was made because the server is read-only, which libpq only says."""
    return "session is read-only" in str(error)
