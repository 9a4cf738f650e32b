"""Runs of reconciliation, how much they checked on which day, and what they found."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, minor, moment, organization, recorded, string

reconciliation_runs = Table(
    "reconciliation_runs",
    metadata,
    string("run_id", primary_key=True),
    string("source"),
    string("workflow_id"),
    organization(nullable=True),
    Column("dry_run", Boolean, nullable=False),
    Column("daily", Boolean, nullable=False),
    moment("since"),
    moment("until"),
    string("status"),
    moment("started_at"),
    moment("finished_at", nullable=True),
    Column("pages", Integer, nullable=False, server_default="0"),
    moment("reached", nullable=True),
    string("problem", server_default=""),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("reconciliation_runs_position", "position"),
    # For the end of the last daily success, where the next run's window is taken from.
    Index(
        "reconciliation_runs_succeeded",
        "source",
        "until",
        postgresql_where=text("daily AND NOT dry_run AND status = 'succeeded'"),
    ),
)

reconciliation_days = Table(
    "reconciliation_days",
    metadata,
    Column("run_id", Text, ForeignKey("reconciliation_runs.run_id"), nullable=False),
    organization(nullable=True),
    Column("day", Date, nullable=False),
    Column("checked", Integer, nullable=False),
    # Calls of nobody have no `org_id`. NULLS NOT DISTINCT lets them too have one row a run and day.
    UniqueConstraint(
        "run_id",
        "org_id",
        "day",
        name="reconciliation_days_once",
        postgresql_nulls_not_distinct=True,
    ),
    Index("reconciliation_days_day", "day"),
)

reconciliation_findings = Table(
    "reconciliation_findings",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", Text, ForeignKey("reconciliation_runs.run_id"), nullable=False),
    string("subject"),
    string("kind"),
    string("outcome"),
    organization(nullable=True),
    minor("amount_minor", nullable=True),
    string("currency", nullable=True),
    moment("occurred_at"),
    Column("due", JSONB, nullable=False),
    string("detail"),
    Column("facts", JSONB(none_as_null=True)),
    recorded("found_at"),
    moment("handed_on_at", nullable=True),
    UniqueConstraint("run_id", "subject", name="reconciliation_findings_once"),
    # What a run has still to hand on, which gets less as the run goes on.
    Index(
        "reconciliation_findings_open",
        "run_id",
        "position",
        postgresql_where=text("outcome = 'open'"),
    ),
    Index("reconciliation_findings_run", "run_id", "position"),
    # For reliability by day, which counts only what no webhook told of.
    Index(
        "reconciliation_findings_missed",
        "occurred_at",
        postgresql_where=text("kind = 'missing'"),
    ),
)
