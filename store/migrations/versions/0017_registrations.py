"""Whose an assistant, a number or a sender was, from when until when."""

from alembic import op

revision = "0017"
down_revision = "0016"

# An exclusion constraint needs an operator of GiST for each of its parts. PostgreSQL has one for
# ranges, and for text only in an extension, which the owner of a database may not be allowed to
# create. So the id stands in it as a range of one.
_TABLE = """
CREATE TYPE id_range AS RANGE (subtype = text, collation = "C");

CREATE TABLE registrations (
    agent_id  text NOT NULL,
    kind      text NOT NULL,
    org_id    text NOT NULL REFERENCES organizations,
    since     timestamptz NOT NULL,
    until     timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (agent_id, since),
    CONSTRAINT registrations_last CHECK (since < until),
    CONSTRAINT registrations_one_owner EXCLUDE USING gist (
        id_range(agent_id, agent_id, '[]') WITH &&, tstzrange(since, until) WITH &&)
);
CREATE INDEX registrations_org ON registrations (org_id);
"""

# The one change that a row may have is its end, once.
_APPEND_ONLY = """
CREATE TRIGGER registrations_append_only BEFORE DELETE ON registrations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER registrations_end_once BEFORE UPDATE ON registrations
    FOR EACH ROW WHEN (OLD.until < 'infinity' OR (OLD.agent_id, OLD.kind, OLD.org_id, OLD.since)
        IS DISTINCT FROM (NEW.agent_id, NEW.kind, NEW.org_id, NEW.since))
    EXECUTE FUNCTION refuse_change();
CREATE TRIGGER registrations_no_truncate BEFORE TRUNCATE ON registrations
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# `agents` says who has what now, and is written as before, by the version before as well. Its
# trigger keeps the times. They are those of the clock and not of the transaction, which may have
# begun before the one that it waited for; and never before the end of the registration before.
_KEPT = """
CREATE FUNCTION keep_registrations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        UPDATE registrations
        SET until = greatest(clock_timestamp(), since + interval '1 microsecond')
        WHERE agent_id = OLD.agent_id AND until = 'infinity';
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO registrations (agent_id, kind, org_id, since)
        SELECT NEW.agent_id, NEW.kind, NEW.org_id, greatest(clock_timestamp(), max(until))
        FROM registrations WHERE agent_id = NEW.agent_id;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER agents_registered AFTER INSERT OR DELETE OR UPDATE OF agent_id, kind, org_id
    ON agents FOR EACH ROW EXECUTE FUNCTION keep_registrations();
"""

# After the trigger, whose lock keeps others from registering anything until all this is there.
_COPY = """
INSERT INTO registrations (agent_id, kind, org_id, since)
SELECT agent_id, kind, org_id, '-infinity' FROM agents
"""


def upgrade() -> None:
    """Add the table; what is registered now holds from the beginning of time."""
    op.execute(_TABLE)
    op.execute(_APPEND_ONLY)
    op.execute(_KEPT)
    op.execute(_COPY)
