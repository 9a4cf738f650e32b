"""Alembic's entry: all migrations in one transaction, and one `callwallet setup` at a time."""

from alembic import context
from sqlalchemy import Connection, text

# The lock makes a second `callwallet setup` wait for the first. Any number will do.
_SETUP_LOCK = 4_217_001


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETUP_LOCK})
        context.run_migrations()


_migrate(context.config.attributes["connection"])
