"""Which key each key was made with, and what was adjusted with it alone."""

from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Add it; of keys that are there, and of those made beside the database, it is unknown."""
    op.execute("ALTER TABLE api_keys ADD COLUMN made_by text REFERENCES api_keys")
    op.execute("CREATE INDEX api_keys_made_by ON api_keys (made_by) WHERE made_by IS NOT NULL")
    op.execute(
        "CREATE INDEX adjustments_alone ON adjustments ((requested_by ->> 'key_id'), requested_at)"
        " WHERE NOT needs_approval"
    )
