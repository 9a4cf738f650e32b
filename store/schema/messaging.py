"""Messages, and what they cost."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    text,
)

from store.schema.columns import metadata, minor, moment, organization, recorded, string

sms_tariffs = Table(
    "sms_tariffs",
    metadata,
    string("sms_tariff_id", primary_key=True),
    organization(nullable=True),
    string("prefix"),
    string("currency"),
    Column("price_minor_per_segment", Numeric, nullable=False),
    Column("fx_rate", Numeric, nullable=False),
    string("wallet_currency"),
    moment("effective_from"),
    CheckConstraint("price_minor_per_segment >= 0", name="sms_tariffs_price_not_negative"),
    CheckConstraint("fx_rate > 0", name="sms_tariffs_fx_rate_positive"),
    CheckConstraint("prefix ~ '^[0-9]{0,6}$'", name="sms_tariffs_prefix_digits"),
)

# `status_rank` is the status's place in the order, so that SQL can keep the higher of two.
# `watch_at` is when the drain gives a message that it has merged a workflow to watch its end.
messages = Table(
    "messages",
    metadata,
    string("sid", primary_key=True),
    string("account_sid"),
    organization(nullable=True),
    string("status"),
    Column("status_rank", SmallInteger, nullable=False),
    string("state"),
    Column("error_code", Integer),
    moment("sent_at", nullable=True),
    Column("segments", Integer),
    string("destination", nullable=True),
    string("sender", nullable=True),
    string("service_sid", nullable=True),
    minor("amount_minor", nullable=True),
    string("currency", nullable=True),
    string("sms_tariff_id", nullable=True),
    string("workflow_id"),
    string("note", server_default=""),
    moment("watch_at", nullable=True),
    recorded("first_seen_at"),
    recorded("updated_at"),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("messages_org", "org_id", "position"),
    Index("messages_org_seen", "org_id", "first_seen_at"),
    Index(
        "messages_waiting_for_money",
        "org_id",
        "sent_at",
        "sid",
        postgresql_where=text("state = 'debt_limit'"),
    ),
    Index(
        "messages_waiting_for_owner",
        "sent_at",
        postgresql_where=text("state = 'unknown_sender'"),
    ),
    Index("messages_watch", "watch_at", postgresql_where=text("watch_at IS NOT NULL")),
)
