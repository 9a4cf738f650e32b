"""What audits found stays; an adjustment changes once, from pending to what became of it."""

from alembic import op

revision = "0032"
down_revision = "0031"

# The service has no right to most of this; the triggers are for whoever has more.
_AUDITS = """
CREATE TRIGGER audits_append_only BEFORE UPDATE OR DELETE ON audits
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audits_no_truncate BEFORE TRUNCATE ON audits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""
_ADJUSTMENTS = """
CREATE TRIGGER adjustments_append_only BEFORE DELETE ON adjustments
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER adjustments_settle_once BEFORE UPDATE ON adjustments
    FOR EACH ROW WHEN (OLD.state <> 'pending'
        OR (OLD.adjustment_id, OLD.org_id, OLD.direction, OLD.amount_minor, OLD.currency,
            OLD.account, OLD.reason, OLD.allow_below_limit, OLD.needs_approval, OLD.requested_by,
            OLD.requested_at, OLD.expires_at)
        IS DISTINCT FROM (NEW.adjustment_id, NEW.org_id, NEW.direction, NEW.amount_minor,
            NEW.currency, NEW.account, NEW.reason, NEW.allow_below_limit, NEW.needs_approval,
            NEW.requested_by, NEW.requested_at, NEW.expires_at))
    EXECUTE FUNCTION refuse_change();
CREATE TRIGGER adjustments_no_truncate BEFORE TRUNCATE ON adjustments
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""


def upgrade() -> None:
    """Add the triggers; the version before does nothing that they refuse."""
    op.execute(_AUDITS)
    op.execute(_ADJUSTMENTS)
