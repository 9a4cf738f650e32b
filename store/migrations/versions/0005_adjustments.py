"""Adjustments, and what was answered to requests that must not act twice."""

from alembic import op

revision = "0005"
down_revision = "0004"

# What needs approval is posted only by another key than the one that asked for it. PostgreSQL
# refuses anything else.
_TABLES = """
CREATE TABLE adjustments (
    adjustment_id         text PRIMARY KEY,
    org_id                text NOT NULL REFERENCES organizations,
    direction             text NOT NULL,
    amount_minor          bigint NOT NULL,
    currency              text NOT NULL,
    account               text NOT NULL,
    reason                text NOT NULL,
    allow_below_limit     boolean NOT NULL,
    needs_approval        boolean NOT NULL,
    requested_by          jsonb NOT NULL,
    requested_at          timestamptz NOT NULL,
    expires_at            timestamptz NOT NULL,
    state                 text NOT NULL,
    decision              jsonb,
    settled_at            timestamptz,
    balance_before_minor  bigint,
    over_by_minor         bigint,
    position              bigint GENERATED ALWAYS AS IDENTITY,
    CONSTRAINT adjustments_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT adjustments_goodwill_is_given CHECK (account <> 'goodwill' OR direction = 'credit'),
    CONSTRAINT adjustments_four_eyes CHECK (
        NOT needs_approval OR state NOT IN ('applied', 'refused') OR (decision IS NOT NULL
        AND decision #>> '{by,key_id}' IS DISTINCT FROM requested_by ->> 'key_id'))
);
CREATE INDEX adjustments_org ON adjustments (org_id, position);

CREATE TABLE idempotency_keys (
    caller          text NOT NULL REFERENCES api_keys,
    key             text NOT NULL,
    request_sha256  text NOT NULL,
    claimed_until   timestamptz NOT NULL,
    status          integer,
    body            text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, key),
    CONSTRAINT idempotency_keys_answered CHECK ((status IS NULL) = (body IS NULL))
);
"""


def upgrade() -> None:
    """Add both tables."""
    op.execute(_TABLES)
