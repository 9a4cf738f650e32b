"""What people have decided about work that waits: who and why, for good."""

from alembic import op

revision = "0011"
down_revision = "0010"

_TABLES = """
CREATE TABLE decisions (
    workflow_id  text NOT NULL,
    run_id       text NOT NULL,
    number       integer NOT NULL,
    verdict      text NOT NULL,
    who_and_why  text NOT NULL,
    org_id       text,
    reason       text,
    decided_at   timestamptz NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    position     bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    PRIMARY KEY (workflow_id, run_id, number)
);
CREATE INDEX decisions_position ON decisions (position);
CREATE INDEX decisions_org ON decisions (org_id, position);

CREATE TRIGGER decisions_append_only BEFORE UPDATE OR DELETE ON decisions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER decisions_no_truncate BEFORE TRUNCATE ON decisions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Add the table of decisions, to which rows are only ever added."""
    op.execute(_TABLES)
