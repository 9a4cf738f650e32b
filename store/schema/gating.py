"""Who starts no calls, and the calls that are going on."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Identity, Index, Table, Text
from sqlalchemy import text as sql

from store.schema.columns import metadata, moment, organization, recorded, string

freezes = Table(
    "freezes",
    metadata,
    Column("freeze_id", BigInteger, Identity(always=True), primary_key=True),
    organization(),
    string("reason"),
    Column("frozen_by", Text, ForeignKey("api_keys.key_id"), nullable=False),
    recorded("frozen_at"),
    Column("thawed_by", Text, ForeignKey("api_keys.key_id")),
    moment("thawed_at", nullable=True),
    CheckConstraint("(thawed_by IS NULL) = (thawed_at IS NULL)", name="freezes_thawed"),
    Index("freezes_in_force", "org_id", unique=True, postgresql_where=sql("thawed_at IS NULL")),
)

calls_in_progress = Table(
    "calls_in_progress",
    metadata,
    string("call_id", primary_key=True),
    string("assistant_id", nullable=True),
    string("phone_number_id", nullable=True),
    recorded("seen_at"),
    moment("due_at"),
    Index("calls_in_progress_due", "due_at"),
)
