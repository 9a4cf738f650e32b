"""Alembic's entry: all migrations in the transaction of whoever has them run."""

from alembic import context
from sqlalchemy import Connection


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()


_migrate(context.config.attributes["connection"])
