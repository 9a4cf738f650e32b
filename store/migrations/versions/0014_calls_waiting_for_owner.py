"""An index of calls that wait for an owner: every collection looks for them among all calls."""

from alembic import op

revision = "0014"
down_revision = "0013"

_INDEX = """
CREATE INDEX calls_waiting_for_owner ON calls (ended_at) WHERE state = 'unknown_assistant'
"""


def upgrade() -> None:
    """Add the index."""
    op.execute(_INDEX)
