"""What every session is set to: by itself, or by its role behind a pooler that shares them."""

from collections.abc import Mapping
from enum import StrEnum

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from store.database.errors import Unusable

# All waits end, and days begin when they do in the ledger.
SETTINGS: Mapping[str, str] = {
    "timezone": "UTC",
    "statement_timeout": "20s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}
_NOW = select(*(func.current_setting(name).label(name) for name in SETTINGS))
log = structlog.get_logger()


class Pooler(StrEnum):
    """What is between us and PostgreSQL: nothing, or one that lends a session a transaction."""

    NONE = "none"
    TRANSACTION = "transaction"


class Unset(Unusable):
    """The session has other settings than ours: its waits may not end."""


def options() -> str:
    """Return the startup options by which a session has the settings from its beginning."""
    return " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())


async def put_on_role(connection: AsyncConnection) -> str:
    """Have every new session of our role in this database begin with them; return the role.

    A role may say so of itself.
    """
    role: str = (await connection.execute(select(func.current_user()))).scalar_one()
    for name, value in SETTINGS.items():
        form = f"ALTER ROLE %I IN DATABASE %I SET {name} = %L"
        written = select(func.format(form, role, func.current_database(), value))
        await connection.exec_driver_sql((await connection.execute(written)).scalar_one())
    return role


async def require(connection: AsyncConnection) -> None:
    """Raise Unset unless this session has them."""
    found = (await connection.execute(_NOW)).mappings().one()
    other = [name for name, value in SETTINGS.items() if found[name] != value]
    if other:
        raise Unset(
            f"sessions of the database role lack {', '.join(other)}: run `callwallet setup` as that"
            " role, then have the pooler open its connections anew (PgBouncer: RECONNECT)"
        )


async def warn(connection: AsyncConnection) -> None:
    """Log it if this session does not have them: the pooler may have others that do."""
    try:
        await require(connection)
    except Unset as unset:
        log.warning("a session of PostgreSQL is not set as it should be", problem=str(unset))
