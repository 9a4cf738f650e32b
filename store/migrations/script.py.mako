"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Change the schema; there is no way back, a mistake is mended by the next revision."""
    op.execute("""
    """)
