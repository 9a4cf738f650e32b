"""Bring the schema up to date, and refuse to run on one that this code was not written for."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from store.database import server
from store.database.errors import Unusable


class UnknownSchema(Unusable):
    """The database is not at the revision that this code was written for."""


async def upgrade(engine: AsyncEngine) -> None:
    """Run every migration that the database does not have, in one transaction.

    It works through a pooler too: the one lock that it takes is of the transaction. Raise TooOld.
    """
    async with engine.begin() as connection:
        await server.require(connection)
        await connection.run_sync(_upgrade)


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
