"""What keys may do, how long they are good, when they were used, and which they have replaced."""

from alembic import op

revision = "0034"
down_revision = "0033"

# Version 0.1 writes `operator`, and `organization` for what is `full` now. It does not know the
# other scopes, so it refuses their keys and takes none of them for an operator's.
_COLUMNS = """
ALTER TABLE api_keys
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN replaces text REFERENCES api_keys,
    ADD COLUMN origin text REFERENCES api_keys,
    DROP CONSTRAINT api_keys_scoped,
    ADD CONSTRAINT api_keys_scoped CHECK (
        CASE WHEN org_id IS NULL THEN scope IN ('operator', 'support', 'read', 'metrics')
        ELSE scope IN ('organization', 'read') END),
    ADD CONSTRAINT api_keys_replaced CHECK ((replaces IS NULL) = (origin IS NULL));
CREATE INDEX api_keys_origin ON api_keys (origin) WHERE origin IS NOT NULL;
CREATE INDEX api_keys_org ON api_keys (org_id, key_id) WHERE org_id IS NOT NULL;
"""
# Who could write `expires_at` or `revoked_at` at will could bring old keys back to life.
_LIVES = """
CREATE TRIGGER api_keys_never_live_longer BEFORE UPDATE ON api_keys
    FOR EACH ROW WHEN (coalesce(NEW.expires_at, 'infinity') > coalesce(OLD.expires_at, 'infinity')
        OR coalesce(NEW.revoked_at, 'infinity') > coalesce(OLD.revoked_at, 'infinity'))
    EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Add them; keys that are there may what they could, for as long as they could."""
    op.execute(_COLUMNS)
    op.execute(_LIVES)
