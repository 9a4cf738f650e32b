"""Auto-recharge: what organisations want, every charge of a card that was tried, and disputes."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Identity,
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
    minor("kept_charge_minor", nullable=True),
    minor("kept_day_minor", nullable=True),
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
    moment("sent_at", nullable=True),
    CheckConstraint("amount_minor > 0", name="recharge_attempts_amount_positive"),
    UniqueConstraint("org_id", "number", name="recharge_attempts_numbered"),
    # Unique among those under way: so no organisation has a second charge before the first is over.
    Index(
        "recharge_attempts_one_under_way",
        "org_id",
        unique=True,
        postgresql_where=text("state IN ('open', 'requires_action')"),
    ),
    Index("recharge_attempts_org", "org_id", "created_at"),
    Index("recharge_attempts_card", "card_fingerprint", "created_at"),
    Index(
        "recharge_attempts_payment", "payment_id", postgresql_where=text("payment_id IS NOT NULL")
    ),
)

# Whatever operators have set, the last of it counts. NULL is what holds by default.
card_caps = Table(
    "card_caps",
    metadata,
    Column("cap_id", BigInteger, Identity(always=True), primary_key=True),
    organization(),
    minor("charge_minor", nullable=True),
    minor("day_minor", nullable=True),
    string("who_and_why"),
    recorded("set_at"),
    Index("card_caps_org", "org_id", "cap_id"),
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
