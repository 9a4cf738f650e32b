"""Requests that act once, and what was answered to them."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, Table, Text

from store.schema.columns import metadata, moment, recorded, string

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", Text, ForeignKey("api_keys.key_id"), primary_key=True),
    string("key", primary_key=True),
    string("request_sha256"),
    moment("claimed_until"),
    Column("status", Integer),
    string("body", nullable=True),
    recorded("created_at"),
    CheckConstraint("(status IS NULL) = (body IS NULL)", name="idempotency_keys_answered"),
)
