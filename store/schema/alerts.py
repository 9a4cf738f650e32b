"""The outbox of alerts, and the alarms that fill it."""

from sqlalchemy import BigInteger, Boolean, Column, Identity, Index, SmallInteger, Table, text
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, moment, recorded, string

# An alert may be about an organisation that does not exist, so `org_id` refers to nothing.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", BigInteger, Identity(always=True), primary_key=True),
    string("key", unique=True),
    string("level"),
    string("title"),
    string("text"),
    string("org_id", nullable=True),
    Column("facts", JSONB, nullable=False),
    string("workflow_id", nullable=True),
    recorded("raised_at"),
    moment("delivered_at", nullable=True),
    string("problem", nullable=True),
    string("view", nullable=True),
    moment("given_up_at", nullable=True),
    # Both indexes hold only what is looked for: the few alerts that wait, and those given up.
    Index(
        "alerts_waiting",
        "alert_id",
        postgresql_where=text("delivered_at IS NULL AND problem IS NULL"),
    ),
    Index(
        "alerts_given_up",
        "given_up_at",
        postgresql_where=text("delivered_at IS NULL AND problem IS NOT NULL"),
    ),
)

alarms = Table(
    "alarms",
    metadata,
    string("alarm", primary_key=True),
    Column("raised", Boolean, nullable=False),
    recorded("since"),
    Column("depth", SmallInteger, nullable=False, server_default="1"),
)
