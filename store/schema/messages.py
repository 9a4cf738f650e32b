"""Messages: how far each is, and what it cost."""

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, SmallInteger, Table, text

from store.schema.columns import metadata, minor, moment, organization, recorded, string

# `status_rank` is the place of `status` in the order, so that SQL can keep the higher of two.
# `watch_at` is when a message that the drain has merged gets a workflow that waits for its end. It
# is NULL if the message has one, or needs none. `channel` is NULL until it is known, and where
# version 0.1 has written the row.
messages = Table(
    "messages",
    metadata,
    string("sid", primary_key=True),
    string("account_sid"),
    organization(nullable=True),
    string("status"),
    Column("status_rank", SmallInteger, nullable=False),
    string("state"),
    Column("error_code", Integer),
    moment("sent_at", nullable=True),
    Column("segments", Integer),
    string("destination", nullable=True),
    string("sender", nullable=True),
    string("service_sid", nullable=True),
    string("channel", nullable=True),
    minor("amount_minor", nullable=True),
    string("currency", nullable=True),
    string("sms_tariff_id", nullable=True),
    string("workflow_id"),
    string("note", server_default=""),
    moment("watch_at", nullable=True),
    recorded("first_seen_at"),
    recorded("updated_at"),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("messages_org", "org_id", "position"),
    Index("messages_org_seen", "org_id", "first_seen_at"),
    # These four hold only messages that wait for something, so they stay small.
    Index(
        "messages_that_wait",
        "sid",
        postgresql_where=text(
            "state IN ('unknown_channel', 'unknown_segments', 'unknown_sender', 'no_tariff',"
            " 'debt_limit')"
        ),
    ),
    Index(
        "messages_waiting_for_money",
        "org_id",
        "sent_at",
        "sid",
        postgresql_where=text("state = 'debt_limit'"),
    ),
    Index(
        "messages_waiting_for_owner",
        "sent_at",
        postgresql_where=text("state = 'unknown_sender'"),
    ),
    Index("messages_watch", "watch_at", postgresql_where=text("watch_at IS NOT NULL")),
)
