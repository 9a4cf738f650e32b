"""What answers a number: an assistant, or now also a squad or a workflow."""

from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the column; NULL is an assistant, which is all that the version before knows."""
    op.execute("ALTER TABLE agents ADD COLUMN answered_by_kind text")
