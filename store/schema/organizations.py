"""Organisations, their agents (assistants, numbers and senders), and keys to the API."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from store.schema.columns import metadata, moment, organization, recorded, string

organizations = Table(
    "organizations",
    metadata,
    string("org_id", primary_key=True),
    string("name"),
    recorded("created_at"),
)


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
    Column("made_by", Text, ForeignKey("api_keys.key_id")),
    moment("expires_at", nullable=True),
    moment("last_used_at", nullable=True),
    Column("replaces", Text, ForeignKey("api_keys.key_id")),
    Column("origin", Text, ForeignKey("api_keys.key_id")),
    Index("api_keys_made_by", "made_by", postgresql_where=sql("made_by IS NOT NULL")),
    Index("api_keys_origin", "origin", postgresql_where=sql("origin IS NOT NULL")),
    Index("api_keys_org", "org_id", "key_id", postgresql_where=sql("org_id IS NOT NULL")),
    CheckConstraint(
        "CASE WHEN org_id IS NULL THEN scope IN ('operator', 'support', 'read', 'metrics')"
        " ELSE scope IN ('organization', 'read') END",
        name="api_keys_scoped",
    ),
    CheckConstraint("(replaces IS NULL) = (origin IS NULL)", name="api_keys_replaced"),
)


agents = Table(
    "agents",
    metadata,
    string("agent_id", primary_key=True),
    string("kind"),
    organization(),
    recorded("created_at"),
    string("answered_by", nullable=True),
    string("answered_by_kind", nullable=True),
    Index("agents_org", "org_id"),
)

# Written by a trigger on `agents`, which says only who has what now.
registrations = Table(
    "registrations",
    metadata,
    string("agent_id", primary_key=True),
    string("kind"),
    organization(),
    moment("since", primary_key=True),
    moment("until", server_default=sql("'infinity'")),
    CheckConstraint("since < until", name="registrations_last"),
    ExcludeConstraint(
        (sql("id_range(agent_id, agent_id, '[]')"), "&&"),
        (sql("tstzrange(since, until)"), "&&"),
        name="registrations_one_owner",
    ),
    # A call that is registered itself is looked up by its id; there may be millions.
    Index("registrations_org", "org_id", postgresql_where=sql("kind <> 'call'")),
)
