"""The gate before a call, and the calls in progress."""

from alembic import op

revision = "0007"
down_revision = "0006"

# A wallet has one freeze in force at most. The unique index sees to that.
_TABLES = """
ALTER TABLE agents ADD COLUMN answered_by text;
CREATE INDEX tariffs_applicable ON tariffs (org_id, wallet_currency);

CREATE TABLE freezes (
    freeze_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    org_id     text NOT NULL REFERENCES organizations,
    reason     text NOT NULL,
    frozen_by  text NOT NULL REFERENCES api_keys,
    frozen_at  timestamptz NOT NULL DEFAULT now(),
    thawed_by  text REFERENCES api_keys,
    thawed_at  timestamptz,
    CONSTRAINT freezes_thawed CHECK ((thawed_by IS NULL) = (thawed_at IS NULL))
);
CREATE UNIQUE INDEX freezes_in_force ON freezes (org_id) WHERE thawed_at IS NULL;

CREATE TABLE calls_in_progress (
    call_id          text PRIMARY KEY,
    assistant_id     text,
    phone_number_id  text,
    seen_at          timestamptz NOT NULL DEFAULT now(),
    due_at           timestamptz NOT NULL
);
CREATE INDEX calls_in_progress_due ON calls_in_progress (due_at);
"""


def upgrade() -> None:
    """Add both tables, the assistant that answers a number, and an index to a wallet's tariffs."""
    op.execute(_TABLES)
