"""Calls by when they ended, webhooks by when they came: success rates look at the last while."""

from alembic import op

revision = "0012"
down_revision = "0011"

# Not BRIN for webhooks, though they only ever come in order: each is written again once it is
# handled, and its old place is given to one of much later. What is ignored was no work.
_INDEXES = """
CREATE INDEX calls_ended ON calls (ended_at);
CREATE INDEX webhook_events_received ON webhook_events (received_at) INCLUDE (status)
    WHERE status <> 'ignored';
"""


def upgrade() -> None:
    """Add the two indexes."""
    op.execute(_INDEXES)
