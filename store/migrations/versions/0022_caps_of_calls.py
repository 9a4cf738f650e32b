"""How long the gate let a call in for: nothing beyond it is charged by itself."""

from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    """Add the column; NULL means that nobody has said, or that an older version let it in."""
    op.execute("ALTER TABLE calls_in_progress ADD COLUMN cap_seconds integer")
