"""Webhooks as they came, and what has come of each."""

from sqlalchemy import BigInteger, Column, Identity, Index, Table, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, moment, recorded, string

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    string("source"),
    string("key"),
    string("type"),
    string("subject"),
    string("body"),
    Column("facts", JSONB(none_as_null=True)),
    string("status"),
    moment("due_at"),
    recorded("received_at"),
    moment("handled_at", nullable=True),
    moment("body_removed_at", nullable=True),
    UniqueConstraint("source", "key", name="webhook_events_once"),
    # Only events that wait are drained, so this stays small however many were handled.
    Index("webhook_events_due", "due_at", "event_id", postgresql_where=text("status = 'waiting'")),
    # For success rates, which do not count ignored events. With `status` in the index the table
    # itself need not be read.
    Index(
        "webhook_events_received",
        "received_at",
        postgresql_include=["status"],
        postgresql_where=text("status <> 'ignored'"),
    ),
    # Events of Vapi and Twilio are found by `key`, which has the call or message in it.
    Index("webhook_events_payment", "subject", postgresql_where=text("source = 'stripe'")),
)
