"""Indexes of the calls and messages that wait for anything: sweep and audit page through them."""

from alembic import op

revision = "0024"
down_revision = "0023"

_INDEXES = """
CREATE INDEX IF NOT EXISTS calls_waiting ON calls (call_id)
    WHERE state NOT IN ('settled', 'discarded');
CREATE INDEX IF NOT EXISTS messages_waiting ON messages (sid)
    WHERE state IN ('unknown_segments', 'unknown_sender', 'no_tariff', 'debt_limit');
"""


def upgrade() -> None:
    """Add the indexes. They hold only what waits, so they stay small."""
    op.execute(_INDEXES)
