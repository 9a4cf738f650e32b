"""Calls: what they cost, which wallets may start none, and which are in progress."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Numeric,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, minor, moment, organization, recorded, string

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
    # Unique among those in force: a wallet has one of them at most, and any number that are over.
    Index("freezes_in_force", "org_id", unique=True, postgresql_where=sql("thawed_at IS NULL")),
)

calls_in_progress = Table(
    "calls_in_progress",
    metadata,
    string("call_id", primary_key=True),
    string("assistant_id", nullable=True),
    string("phone_number_id", nullable=True),
    Column("cap_seconds", Integer),
    recorded("seen_at"),
    moment("due_at"),
    Index("calls_in_progress_due", "due_at"),
)

# Since when calls are free that end so, and until when they were.
free_call_rules = Table(
    "free_call_rules",
    metadata,
    string("ending", primary_key=True),
    moment("since", primary_key=True, server_default=func.now()),
    moment("until", nullable=True),
    CheckConstraint("since < until", name="free_call_rules_last"),
    Index(
        "free_call_rules_in_force", "ending", unique=True, postgresql_where=text("until IS NULL")
    ),
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
    # What the wallet was refused for. Of a correction that is the difference, while the amounts
    # above are those of the charge that stands.
    minor("waiting_minor", nullable=True),
    # Why it ended, in Vapi's words, and what Vapi charges the platform for it.
    string("ended_reason", nullable=True),
    Column("provider_cost_usd", Numeric),
    # A person decided that the charge stays as it is, whatever Vapi says.
    Column("correction_given_up", Boolean, nullable=False, server_default=text("false")),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("calls_org", "org_id", "position"),
    Index("calls_ended", "ended_at"),
    # This one and the next two hold only calls that wait, so they stay small.
    Index(
        "calls_waiting", "call_id", postgresql_where=text("state NOT IN ('settled', 'discarded')")
    ),
    # In the order in which they are collected.
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
