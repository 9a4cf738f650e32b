"""Payments that a person has given up, so that reconciliation does not find them every night."""

from alembic import op

revision = "0010"
down_revision = "0009"

_TABLES = """
CREATE TABLE discarded_payments (
    payment_id    text PRIMARY KEY,
    note          text NOT NULL,
    discarded_at  timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Add the table of payments that were given up."""
    op.execute(_TABLES)
