"""Messages, and what they cost by destination."""

from alembic import op

revision = "0008"
down_revision = "0007"

_TABLES = """
CREATE TABLE sms_tariffs (
    sms_tariff_id            text PRIMARY KEY,
    org_id                   text REFERENCES organizations,
    prefix                   text NOT NULL,
    currency                 text NOT NULL,
    price_minor_per_segment  numeric NOT NULL,
    fx_rate                  numeric NOT NULL,
    wallet_currency          text NOT NULL,
    effective_from           timestamptz NOT NULL,
    CONSTRAINT sms_tariffs_price_not_negative CHECK (price_minor_per_segment >= 0),
    CONSTRAINT sms_tariffs_fx_rate_positive CHECK (fx_rate > 0),
    CONSTRAINT sms_tariffs_prefix_digits CHECK (prefix ~ '^[0-9]{0,6}$')
);

CREATE TABLE messages (
    sid            text PRIMARY KEY,
    account_sid    text NOT NULL,
    org_id         text REFERENCES organizations,
    status         text NOT NULL,
    status_rank    smallint NOT NULL,
    state          text NOT NULL,
    error_code     integer,
    sent_at        timestamptz,
    segments       integer,
    destination    text,
    sender         text,
    service_sid    text,
    amount_minor   bigint,
    currency       text,
    sms_tariff_id  text,
    workflow_id    text NOT NULL,
    note           text NOT NULL DEFAULT '',
    watch_at       timestamptz,
    first_seen_at  timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    position       bigint GENERATED ALWAYS AS IDENTITY
);
CREATE INDEX messages_org ON messages (org_id, position);
CREATE INDEX messages_org_seen ON messages (org_id, first_seen_at);
CREATE INDEX messages_waiting_for_money ON messages (org_id, sent_at, sid)
    WHERE state = 'debt_limit';
CREATE INDEX messages_waiting_for_owner ON messages (sent_at) WHERE state = 'unknown_sender';
CREATE INDEX messages_watch ON messages (watch_at) WHERE watch_at IS NOT NULL;
"""

# A tariff that was used never changes. PostgreSQL itself refuses it.
_APPEND_ONLY = """
CREATE TRIGGER sms_tariffs_append_only BEFORE UPDATE OR DELETE ON sms_tariffs
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER sms_tariffs_no_truncate BEFORE TRUNCATE ON sms_tariffs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

# US cents a segment: North America, the United Kingdom, Germany, France, Australia, anywhere else.
# Pounds at 0.79 to the dollar.
_TARIFFS = """
INSERT INTO sms_tariffs
SELECT 'default-' || wallet || '-' || coalesce(nullif(prefix, ''), 'any') || '-2020',
       NULL, prefix, 'usd', price, rate, wallet, '2020-01-01T00:00:00Z'
FROM (VALUES ('1', 1.5), ('44', 6), ('49', 12), ('33', 9), ('61', 6), ('', 15))
         AS prices (prefix, price),
     (VALUES ('gbp', 0.79), ('usd', 1)) AS wallets (wallet, rate);
"""


def upgrade() -> None:
    """Add both tables, and the default prices."""
    op.execute(_TABLES)
    op.execute(_APPEND_ONLY)
    op.execute(_TARIFFS)
