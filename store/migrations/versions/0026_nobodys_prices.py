"""A new database has no prices: those that 0001 and 0008 put in were somebody's."""

from alembic import op

revision = "0026"
down_revision = "0025"

# All migrations of a run are one transaction. So what this same transaction has put in is of a
# database that has begun with it, and nothing was charged by it. Any other database keeps its
# prices, and its tables are not even locked: only the owner may disable a trigger, and does so
# where nobody else can see the table yet.
_REMOVE = """
DO $$
DECLARE
    prices text;
    are_new boolean;
BEGIN
    FOREACH prices IN ARRAY ARRAY['tariffs', 'sms_tariffs'] LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE xmin = pg_current_xact_id()::xid)',
            prices) INTO are_new;
        IF are_new THEN
            EXECUTE format('ALTER TABLE %1$I DISABLE TRIGGER %1$s_append_only', prices);
            EXECUTE format('DELETE FROM %I WHERE xmin = pg_current_xact_id()::xid', prices);
            EXECUTE format('ALTER TABLE %1$I ENABLE TRIGGER %1$s_append_only', prices);
        END IF;
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Remove what was put in by this very run; `callwallet setup --example-tariffs` adds it."""
    op.execute(_REMOVE)
