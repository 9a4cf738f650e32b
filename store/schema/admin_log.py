"""The book of powers: what people have changed."""

from sqlalchemy import BigInteger, Column, Identity, Index, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, recorded, string

# Bulk decisions may name an organisation that does not exist, so `org_id` refers to nothing.
admin_log = Table(
    "admin_log",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    recorded("recorded_at"),
    string("actor_key_id", nullable=True),
    string("actor"),
    string("actor_name", nullable=True),
    string("action"),
    string("subject"),
    string("subject_id"),
    string("org_id", nullable=True),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    string("reason", nullable=True),
    string("once", nullable=True, unique=True),
    Index("admin_log_org", "org_id", "position", postgresql_where=text("org_id IS NOT NULL")),
    Index(
        "admin_log_actor",
        "actor_key_id",
        "position",
        postgresql_where=text("actor_key_id IS NOT NULL"),
    ),
    Index("admin_log_subject", "subject_id", "position"),
    Index("admin_log_recorded", "recorded_at"),
)
