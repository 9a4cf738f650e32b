"""How deep an alarm is raised, the view of an alert, and when an alert was given up."""

from alembic import op

revision = "0013"
down_revision = "0012"

_COLUMNS = """
ALTER TABLE alarms ADD COLUMN depth smallint NOT NULL DEFAULT 1;
ALTER TABLE alerts ADD COLUMN view text, ADD COLUMN given_up_at timestamptz;
CREATE INDEX alerts_given_up ON alerts (given_up_at)
    WHERE delivered_at IS NULL AND problem IS NOT NULL;
"""


def upgrade() -> None:
    """Add the columns. Alerts given up before have no time of that."""
    op.execute(_COLUMNS)
