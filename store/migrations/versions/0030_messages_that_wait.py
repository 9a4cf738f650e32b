"""What waits among messages may also go over a channel that nobody knows."""

from alembic import op

revision = "0030"
down_revision = "0029"

# The index before holds all but the new reason, and no version that was released reads it.
_INDEX = """
CREATE INDEX IF NOT EXISTS messages_that_wait ON messages (sid)
    WHERE state IN ('unknown_channel', 'unknown_segments', 'unknown_sender', 'no_tariff',
        'debt_limit');
DROP INDEX IF EXISTS messages_waiting
"""


def upgrade() -> None:
    """Put another index in the place of the one that there was."""
    op.execute(_INDEX)
