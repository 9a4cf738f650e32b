"""Make a database ready for tests; run migrations one by one, or once more."""

from datetime import timedelta

from alembic import command
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.tariffs import examples
from store.database import clock, migrate
from store.database.roles import ServiceRole
from store.tariffs import call_tariffs, sms_tariffs


async def set_up(engine: AsyncEngine, service: ServiceRole | None = None) -> None:
    """Migrate a database, and add the example prices: by them all tests charge. Again is once."""
    await migrate.upgrade(engine, service)
    async with engine.begin() as connection:
        for tariff in examples.CALLS:
            await call_tariffs.add(connection, tariff)
        soon = await clock.now(connection) + timedelta(seconds=1)
        begun = await sms_tariffs.begun(connection)
        for price in (*examples.MESSAGES, *examples.other_channels(soon)):
            if price.sms_tariff_id not in begun:
                await sms_tariffs.add(connection, price)


async def migrate_again(engine: AsyncEngine, revision: str) -> None:
    """Do what this migration does; its tables must have been put back as it finds them."""

    def upgrade(connection: Connection) -> None:
        script = ScriptDirectory.from_config(migrate._config()).get_revision(revision)
        with Operations.context(MigrationContext.configure(connection)):
            script.module.upgrade()

    async with engine.begin() as connection:
        await connection.run_sync(upgrade)


async def migrate_to(engine: AsyncEngine, revision: str) -> None:
    """Migrate a database up to this revision."""
    async with engine.begin() as connection:
        await connection.run_sync(to_revision, revision)


def to_revision(connection: Connection, revision: str) -> None:
    config = migrate._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def revisions_after(revision: str) -> list[str]:
    """List the revisions that follow this one, in order."""
    script = ScriptDirectory.from_config(migrate._config())
    newer = script.iterate_revisions("head", revision)
    return [one.revision for one in reversed(list(newer))]
