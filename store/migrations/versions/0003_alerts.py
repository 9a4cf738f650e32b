"""The outbox of alerts, and the alarms whose crossings raise them."""

from alembic import op

revision = "0003"
down_revision = "0002"

# An alert may be about an organisation that does not exist, so `org_id` refers to nothing.
_TABLES = """
CREATE TABLE alerts (
    alert_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           text NOT NULL UNIQUE,
    level         text NOT NULL,
    title         text NOT NULL,
    text          text NOT NULL,
    org_id        text,
    facts         jsonb NOT NULL,
    workflow_id   text,
    raised_at     timestamptz NOT NULL DEFAULT now(),
    delivered_at  timestamptz,
    problem       text
);
CREATE INDEX alerts_waiting ON alerts (alert_id)
    WHERE delivered_at IS NULL AND problem IS NULL;

CREATE TABLE alarms (
    alarm   text PRIMARY KEY,
    raised  boolean NOT NULL,
    since   timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Add both tables."""
    op.execute(_TABLES)
