"""What operators give and take by hand."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Identity, Index, Table
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, minor, moment, organization, string

adjustments = Table(
    "adjustments",
    metadata,
    string("adjustment_id", primary_key=True),
    organization(),
    string("direction"),
    minor("amount_minor"),
    string("currency"),
    string("account"),
    string("reason"),
    Column("allow_below_limit", Boolean, nullable=False),
    Column("needs_approval", Boolean, nullable=False),
    Column("requested_by", JSONB, nullable=False),
    moment("requested_at"),
    moment("expires_at"),
    string("state"),
    Column("decision", JSONB(none_as_null=True)),
    moment("settled_at", nullable=True),
    minor("balance_before_minor", nullable=True),
    minor("over_by_minor", nullable=True),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    CheckConstraint("amount_minor > 0", name="adjustments_amount_positive"),
    CheckConstraint(
        "account <> 'goodwill' OR direction = 'credit'", name="adjustments_goodwill_is_given"
    ),
    # What needs approval is posted only by another key than the one that asked for it.
    CheckConstraint(
        "NOT needs_approval OR state NOT IN ('applied', 'refused') OR (decision IS NOT NULL"
        " AND decision #>> '{by,key_id}' IS DISTINCT FROM requested_by ->> 'key_id')",
        name="adjustments_four_eyes",
    ),
    Index("adjustments_org", "org_id", "position"),
    Index(
        "adjustments_alone",
        sql("(requested_by ->> 'key_id')"),
        "requested_at",
        postgresql_where=sql("NOT needs_approval"),
    ),
)
