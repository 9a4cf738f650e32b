"""Auto-recharge: settings, attempts, which disputes are open, and the threshold on the wallet."""

from alembic import op

revision = "0006"
down_revision = "0005"

# An organisation has one attempt under way at most. The unique index sees to that.
_TABLES = """
ALTER TABLE wallets ADD COLUMN recharge_below_minor bigint;

CREATE TABLE recharge_settings (
    org_id               text PRIMARY KEY REFERENCES organizations,
    enabled              boolean NOT NULL,
    threshold_minor      bigint NOT NULL,
    amount_minor         bigint NOT NULL,
    refill_to_minor      bigint,
    max_per_day          integer,
    max_per_month        integer,
    max_minor_per_day    bigint,
    max_minor_per_month  bigint,
    return_url           text,
    last_number          integer NOT NULL DEFAULT 0,
    lifted_number        integer NOT NULL DEFAULT 0,
    suspended_code       text,
    suspended_at         timestamptz,
    suspended_card       text,
    updated_at           timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE recharge_attempts (
    attempt_id         text PRIMARY KEY,
    org_id             text NOT NULL REFERENCES organizations,
    number             integer NOT NULL,
    state              text NOT NULL,
    amount_minor       bigint NOT NULL,
    currency           text NOT NULL,
    customer_id        text NOT NULL,
    payment_method_id  text NOT NULL,
    card_fingerprint   text NOT NULL,
    payment_id         text,
    code               text,
    link               text,
    session_id         text,
    deadline           timestamptz,
    created_at         timestamptz NOT NULL,
    written_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT recharge_attempts_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT recharge_attempts_numbered UNIQUE (org_id, number)
);
CREATE UNIQUE INDEX recharge_attempts_one_under_way ON recharge_attempts (org_id)
    WHERE state IN ('open', 'requires_action');
CREATE INDEX recharge_attempts_org ON recharge_attempts (org_id, created_at);
CREATE INDEX recharge_attempts_card ON recharge_attempts (card_fingerprint, created_at);

CREATE TABLE disputes (
    dispute_id  text PRIMARY KEY,
    org_id      text NOT NULL REFERENCES organizations,
    payment_id  text NOT NULL,
    is_open     boolean NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX disputes_open ON disputes (org_id) WHERE is_open;
"""


def upgrade() -> None:
    """Add the column and the tables."""
    op.execute(_TABLES)
