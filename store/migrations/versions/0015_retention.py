"""When the body of a webhook was removed, for what it says about people is not kept for ever."""

from alembic import op

revision = "0015"
down_revision = "0014"

# It has no index: a sweep goes by event_id, and knows how far the last one came.
_COLUMN = "ALTER TABLE webhook_events ADD COLUMN body_removed_at timestamptz"


def upgrade() -> None:
    """Add the column. It has no default, so no row has to be rewritten."""
    op.execute(_COLUMN)
