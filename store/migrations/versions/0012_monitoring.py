"""Indexes for success rates: calls by when they ended, webhooks by when they came."""

from alembic import op

revision = "0012"
down_revision = "0011"

# Webhooks come in order, but BRIN does not suit them: each row is written again once it is handled,
# and its old place goes to a row of much later. Ignored webhooks are not counted.
_INDEXES = """
CREATE INDEX calls_ended ON calls (ended_at);
CREATE INDEX webhook_events_received ON webhook_events (received_at) INCLUDE (status)
    WHERE status <> 'ignored';
"""


def upgrade() -> None:
    """Add the two indexes."""
    op.execute(_INDEXES)
