"""Calls, what they cost, and the webhooks that tell of them."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, minor, moment, organization, recorded, string

agents = Table(
    "agents",
    metadata,
    string("agent_id", primary_key=True),
    string("kind"),
    organization(),
    recorded("created_at"),
    string("answered_by", nullable=True),
    Index("agents_org", "org_id"),
)

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

calls = Table(
    "calls",
    metadata,
    string("call_id", primary_key=True),
    organization(nullable=True),
    string("state"),
    Column("facts", JSONB, nullable=False),
    moment("ended_at", nullable=True),
    Column("billed_seconds", Integer),
    minor("rated_minor", nullable=True),
    string("rated_currency", nullable=True),
    minor("amount_minor", nullable=True),
    string("currency", nullable=True),
    string("tariff_id", nullable=True),
    string("workflow_id"),
    string("note", server_default=""),
    recorded("first_seen_at"),
    recorded("updated_at"),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("calls_org", "org_id", "position"),
    Index("calls_ended", "ended_at"),
    Index(
        "calls_waiting_for_money",
        "org_id",
        "ended_at",
        "call_id",
        postgresql_where=text("state = 'debt_limit'"),
    ),
    Index(
        "calls_waiting_for_owner",
        "ended_at",
        postgresql_where=text("state = 'unknown_assistant'"),
    ),
)

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
    Index("webhook_events_due", "due_at", "event_id", postgresql_where=text("status = 'waiting'")),
    Index(
        "webhook_events_received",
        "received_at",
        postgresql_include=["status"],
        postgresql_where=text("status <> 'ignored'"),
    ),
    Index("webhook_events_payment", "subject", postgresql_where=text("source = 'stripe'")),
)
