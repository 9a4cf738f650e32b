"""Organisations, wallets, the append-only ledger, calls, and the webhook inbox."""

from alembic import op

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE organizations (
    org_id      text PRIMARY KEY,
    name        text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE wallets (
    org_id             text PRIMARY KEY REFERENCES organizations,
    currency           text NOT NULL,
    balance_minor      bigint NOT NULL DEFAULT 0,
    debt_limit_minor   bigint NOT NULL DEFAULT 500,
    low_balance_minor  bigint NOT NULL DEFAULT 500,
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT wallets_debt_limit_not_negative CHECK (debt_limit_minor >= 0),
    CONSTRAINT wallets_currency_known CHECK (currency IN ('gbp', 'usd'))
);

CREATE TABLE agents (
    agent_id    text PRIMARY KEY,
    kind        text NOT NULL,
    org_id      text NOT NULL REFERENCES organizations,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agents_org ON agents (org_id);

CREATE TABLE tariffs (
    tariff_id              text PRIMARY KEY,
    org_id                 text REFERENCES organizations,
    currency               text NOT NULL,
    rate_minor_per_minute  numeric NOT NULL,
    increment_seconds      integer NOT NULL,
    minimum_minor          bigint NOT NULL,
    fx_rate                numeric NOT NULL,
    wallet_currency        text NOT NULL,
    effective_from         timestamptz NOT NULL,
    CONSTRAINT tariffs_rate_not_negative CHECK (rate_minor_per_minute >= 0),
    CONSTRAINT tariffs_increment_positive CHECK (increment_seconds > 0),
    CONSTRAINT tariffs_fx_rate_positive CHECK (fx_rate > 0)
);

CREATE TABLE ledger_entries (
    entry_id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key                  text NOT NULL UNIQUE,
    kind                 text NOT NULL,
    org_id               text NOT NULL REFERENCES organizations,
    debit_account        text NOT NULL,
    credit_account       text NOT NULL,
    amount_minor         bigint NOT NULL,
    currency             text NOT NULL,
    balance_after_minor  bigint NOT NULL,
    occurred_at          timestamptz NOT NULL,
    recorded_at          timestamptz NOT NULL DEFAULT now(),
    cause                text NOT NULL,
    actor                text NOT NULL,
    reverses             text REFERENCES ledger_entries (key),
    note                 text NOT NULL DEFAULT '',
    CONSTRAINT ledger_entries_amount_positive CHECK (amount_minor > 0),
    CONSTRAINT ledger_entries_two_accounts CHECK (debit_account <> credit_account)
);
CREATE INDEX ledger_entries_org ON ledger_entries (org_id, entry_id);

CREATE TABLE calls (
    call_id         text PRIMARY KEY,
    org_id          text REFERENCES organizations,
    state           text NOT NULL,
    facts           jsonb NOT NULL,
    ended_at        timestamptz,
    billed_seconds  integer,
    rated_minor     bigint,
    rated_currency  text,
    amount_minor    bigint,
    currency        text,
    tariff_id       text,
    workflow_id     text NOT NULL,
    note            text NOT NULL DEFAULT '',
    first_seen_at   timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    position        bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX calls_org ON calls (org_id, position);
CREATE INDEX calls_waiting_for_money ON calls (org_id, ended_at, call_id)
    WHERE state = 'debt_limit';

CREATE TABLE webhook_events (
    event_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source       text NOT NULL,
    key          text NOT NULL,
    type         text NOT NULL,
    subject      text NOT NULL,
    body         text NOT NULL,
    facts        jsonb,
    status       text NOT NULL,
    due_at       timestamptz NOT NULL,
    received_at  timestamptz NOT NULL DEFAULT now(),
    handled_at   timestamptz,
    CONSTRAINT webhook_events_once UNIQUE (source, key)
);
CREATE INDEX webhook_events_due ON webhook_events (due_at, event_id) WHERE status = 'waiting';

CREATE TABLE api_keys (
    key_id         text PRIMARY KEY,
    secret_sha256  text NOT NULL,
    scope          text NOT NULL,
    org_id         text REFERENCES organizations,
    label          text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at     timestamptz,
    CONSTRAINT api_keys_scoped CHECK ((scope = 'organization') = (org_id IS NOT NULL))
);
"""

# The ledger is append-only, and a tariff that was used never changes. PostgreSQL itself refuses it.
_APPEND_ONLY = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused; post a reversing row instead',
        TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_entries_no_truncate BEFORE TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER tariffs_append_only BEFORE UPDATE OR DELETE ON tariffs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER tariffs_no_truncate BEFORE TRUNCATE ON tariffs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# 70 US cents a minute, by the second; pounds at 0.79 to the dollar.
_TARIFFS = """
INSERT INTO tariffs VALUES
    ('default-gbp-2020', NULL, 'usd', 70, 1, 0, 0.79, 'gbp', '2020-01-01T00:00:00Z'),
    ('default-usd-2020', NULL, 'usd', 70, 1, 0, 1,    'usd', '2020-01-01T00:00:00Z');
"""


def upgrade() -> None:
    """Create the first schema. There is no way back: a mistake is mended by the next revision."""
    op.execute(_TABLES)
    op.execute(_APPEND_ONLY)
    op.execute(_TARIFFS)
