"""What audits looked at, and what they found."""

from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES = """
CREATE TABLE audits (
    position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz NOT NULL DEFAULT now(),
    wallets      bigint NOT NULL,
    entries      bigint NOT NULL,
    flaws        jsonb NOT NULL
);
"""


def upgrade() -> None:
    """Add the table of audits."""
    op.execute(_TABLES)
