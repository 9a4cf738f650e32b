"""What calls and messages cost, for whom and from when on."""

from sqlalchemy import CheckConstraint, Column, Index, Integer, Numeric, Table

from store.schema.columns import metadata, minor, moment, organization, string

tariffs = Table(
    "tariffs",
    metadata,
    string("tariff_id", primary_key=True),
    organization(nullable=True),
    string("currency"),
    Column("rate_minor_per_minute", Numeric, nullable=False),
    Column("increment_seconds", Integer, nullable=False),
    minor("minimum_minor"),
    Column("fx_rate", Numeric, nullable=False),
    string("wallet_currency"),
    moment("effective_from"),
    CheckConstraint("rate_minor_per_minute >= 0", name="tariffs_rate_not_negative"),
    CheckConstraint("increment_seconds > 0", name="tariffs_increment_positive"),
    CheckConstraint("fx_rate > 0", name="tariffs_fx_rate_positive"),
    Index("tariffs_applicable", "org_id", "wallet_currency"),
)


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
    # It is never NULL: a trigger writes it for version 0.1, which has prices of SMS and MMS in one.
    string("channel", nullable=True),
    CheckConstraint("price_minor_per_segment >= 0", name="sms_tariffs_price_not_negative"),
    CheckConstraint("fx_rate > 0", name="sms_tariffs_fx_rate_positive"),
    CheckConstraint("prefix ~ '^[0-9]{0,6}$'", name="sms_tariffs_prefix_digits"),
)
