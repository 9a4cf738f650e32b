"""The book of powers: what people have changed, for good."""

from alembic import op

revision = "0033"
down_revision = "0032"

_TABLE = """
CREATE TABLE admin_log (
    position      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    actor_key_id  text,
    actor         text NOT NULL,
    actor_name    text,
    action        text NOT NULL,
    subject       text NOT NULL,
    subject_id    text NOT NULL,
    org_id        text,
    before        jsonb,
    after         jsonb,
    reason        text,
    once          text UNIQUE
);
CREATE INDEX admin_log_org ON admin_log (org_id, position) WHERE org_id IS NOT NULL;
CREATE INDEX admin_log_actor ON admin_log (actor_key_id, position) WHERE actor_key_id IS NOT NULL;
CREATE INDEX admin_log_subject ON admin_log (subject_id, position);
CREATE INDEX admin_log_recorded ON admin_log (recorded_at);

CREATE TRIGGER admin_log_append_only BEFORE UPDATE OR DELETE ON admin_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER admin_log_no_truncate BEFORE TRUNCATE ON admin_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Add the book, to which lines are only ever added."""
    op.execute(_TABLE)
