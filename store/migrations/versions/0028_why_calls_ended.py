"""Why a call ended and what it cost the platform; and since when an end makes a call free."""

from alembic import op

revision = "0028"
down_revision = "0027"

# What is there stays as it is: the version before writes neither, and reads neither.
_COLUMNS = """
ALTER TABLE calls ADD COLUMN ended_reason text, ADD COLUMN provider_cost_usd numeric
"""
_RULES = """
CREATE TABLE free_call_rules (
    ending text NOT NULL,
    since  timestamptz NOT NULL DEFAULT now(),
    until  timestamptz,
    PRIMARY KEY (ending, since),
    CONSTRAINT free_call_rules_last CHECK (since < until)
);
CREATE UNIQUE INDEX free_call_rules_in_force ON free_call_rules (ending) WHERE until IS NULL;
CREATE TRIGGER free_call_rules_append_only BEFORE DELETE ON free_call_rules
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER free_call_rules_end_once BEFORE UPDATE ON free_call_rules
    FOR EACH ROW WHEN (OLD.until IS NOT NULL OR (OLD.ending, OLD.since)
        IS DISTINCT FROM (NEW.ending, NEW.since))
    EXECUTE FUNCTION refuse_change();
CREATE TRIGGER free_call_rules_no_truncate BEFORE TRUNCATE ON free_call_rules
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
# Calls that began before were charged, or not, without it.
_INSTALL = "INSERT INTO free_call_rules (ending) VALUES ('never_connected')"


def upgrade() -> None:
    """Add them; what never connected is free from now on."""
    op.execute(_COLUMNS)
    op.execute(_RULES)
    op.execute(_INSTALL)
