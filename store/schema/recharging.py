"""Auto-recharge: what organisations want, every charge of a card that was tried, and disputes."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    Table,
    UniqueConstraint,
    text,
)

from store.schema.columns import metadata, minor, moment, organization, recorded, string

recharge_settings = Table(
    "recharge_settings",
    metadata,
    organization(primary_key=True),
    Column("enabled", Boolean, nullable=False),
    minor("threshold_minor"),
    minor("amount_minor"),
    minor("refill_to_minor", nullable=True),
    Column("max_per_day", Integer),
    Column("max_per_month", Integer),
    minor("max_minor_per_day", nullable=True),
    minor("max_minor_per_month", nullable=True),
    string("return_url", nullable=True),
    Column("last_number", Integer, nullable=False, server_default="0"),
    Column("lifted_number", Integer, nullable=False, server_default="0"),
    string("suspended_code", nullable=True),
    moment("suspended_at", nullable=True),
    string("suspended_card", nullable=True),
    recorded("updated_at"),
)

recharge_attempts = Table(
    "recharge_attempts",
    metadata,
    string("attempt_id", primary_key=True),
    organization(),
    Column("number", Integer, nullable=False),
    string("state"),
    minor("amount_minor"),
    string("currency"),
    string("customer_id"),
    string("payment_method_id"),
    string("card_fingerprint"),
    string("payment_id", nullable=True),
    string("code", nullable=True),
    string("link", nullable=True),
    string("session_id", nullable=True),
    moment("deadline", nullable=True),
    moment("created_at"),
    recorded("written_at"),
    CheckConstraint("amount_minor > 0", name="recharge_attempts_amount_positive"),
    UniqueConstraint("org_id", "number", name="recharge_attempts_numbered"),
    Index(
        "recharge_attempts_one_under_way",
        "org_id",
        unique=True,
        postgresql_where=text("state IN ('open', 'requires_action')"),
    ),
    Index("recharge_attempts_org", "org_id", "created_at"),
    Index("recharge_attempts_card", "card_fingerprint", "created_at"),
)

disputes = Table(
    "disputes",
    metadata,
    string("dispute_id", primary_key=True),
    organization(),
    string("payment_id"),
    Column("is_open", Boolean, nullable=False),
    recorded("updated_at"),
    Index("disputes_open", "org_id", postgresql_where=text("is_open")),
)
