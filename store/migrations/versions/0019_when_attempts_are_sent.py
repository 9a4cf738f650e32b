"""When a charge was last sent to Stripe, and which attempt a payment is of."""

from alembic import op

revision = "0019"
down_revision = "0018"

_COLUMN = "ALTER TABLE recharge_attempts ADD COLUMN sent_at timestamptz"
_INDEX = """
CREATE INDEX IF NOT EXISTS recharge_attempts_payment ON recharge_attempts (payment_id)
    WHERE payment_id IS NOT NULL
"""


def upgrade() -> None:
    """Add the column, which workers of the last version leave empty, and the index."""
    op.execute(_COLUMN)
    op.execute(_INDEX)
