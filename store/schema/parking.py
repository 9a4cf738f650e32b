"""What people have decided about work that waits."""

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, Table

from store.schema.columns import metadata, moment, recorded, string

# A payment may name an organisation that does not exist, so `org_id` refers to nothing. An approval
# or rejection of an adjustment belongs to no run of its process: `run_id` is empty, `number` is 1.
decisions = Table(
    "decisions",
    metadata,
    string("workflow_id", primary_key=True),
    string("run_id", primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    string("verdict"),
    string("who_and_why"),
    string("org_id", nullable=True),
    string("reason", nullable=True),
    moment("decided_at"),
    recorded("recorded_at"),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("decisions_position", "position"),
    Index("decisions_org", "org_id", "position"),
)
