"""The index of what an organisation has leaves out the calls that are registered themselves."""

from alembic import op

revision = "0021"
down_revision = "0020"

_INDEX = """
DROP INDEX registrations_org;
CREATE INDEX registrations_org ON registrations (org_id) WHERE kind <> 'call';
"""


def upgrade() -> None:
    """Make the index anew."""
    op.execute(_INDEX)
