"""Which customer of Stripe's an organisation is."""

from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = """
CREATE TABLE stripe_customers (
    org_id       text PRIMARY KEY REFERENCES organizations,
    customer_id  text NOT NULL UNIQUE,
    created_at   timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Add the table of customers."""
    op.execute(_TABLES)
