"""Who may call the API, and what was answered once for all."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, Table, Text

from store.schema.columns import metadata, moment, organization, recorded, string

api_keys = Table(
    "api_keys",
    metadata,
    string("key_id", primary_key=True),
    string("secret_sha256"),
    string("scope"),
    organization(nullable=True),
    string("label"),
    recorded("created_at"),
    moment("revoked_at", nullable=True),
    CheckConstraint("(scope = 'organization') = (org_id IS NOT NULL)", name="api_keys_scoped"),
)

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
