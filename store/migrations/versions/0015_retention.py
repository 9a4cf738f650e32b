"""When the body of a webhook was removed: what it told of people is not kept for ever."""

from alembic import op

revision = "0015"
down_revision = "0014"

# Without an index: a sweep goes by event_id, and knows how far the last one came.
_COLUMN = "ALTER TABLE webhook_events ADD COLUMN body_removed_at timestamptz"


def upgrade() -> None:
    """Add the column, which no row has to be written for."""
    op.execute(_COLUMN)
