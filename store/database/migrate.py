"""Bring the schema up to date, and refuse to run on one that this code was not written for."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store.database import roles, server
from store.database.errors import Unusable
from store.database.roles import ServiceRole

# It makes a second `callwallet setup` wait for the first. Any number will do.
_SETUP_LOCK = 4_217_001


class UnknownSchema(Unusable):
    """The database is not at the revision that this code was written for."""


async def upgrade(engine: AsyncEngine, service: ServiceRole | None = None) -> None:
    """Run every migration that the database does not have, in one transaction.

    In the same one the service's role gets the rights to what is new, for triggers may write there
    at once; without `service` there is one role, who owns all. It works through a pooler too: the
    one lock that it takes is of the transaction. Raise TooOld and, about roles, NotPrepared.
    """
    async with engine.begin() as connection:
        await server.require(connection)
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETUP_LOCK})
        if service is not None:
            await roles.make(connection, service)
            await roles.take_over(connection, service.name)
        await connection.run_sync(_upgrade)
        if service is not None:
            await roles.grant(connection, service.name)


async def require_current(connection: AsyncConnection) -> None:
    """Raise Unusable unless the server and its schema are those that this code is written for.

    The schema must be at exactly this code's revision.
    """
    await server.require(connection)
    found = await connection.run_sync(_revision)
    expected = _scripts().get_current_head()
    if found != expected:
        raise UnknownSchema(
            f"the database is at revision {found}, this code needs {expected}:"
            " run `callwallet setup` with the version of callwallet that you deploy"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _upgrade(connection: Connection) -> None:
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
