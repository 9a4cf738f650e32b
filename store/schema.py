"""The tables. `migrations/` makes them; a test holds the two together."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()


def _text(name: str, *, nullable: bool = False, **options: Any) -> Column[str]:
    return Column(name, Text, nullable=nullable, **options)


def _minor(name: str, *, nullable: bool = False, **options: Any) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, **options)


def _moment(name: str, *, nullable: bool = False, **options: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, **options)


def _recorded(name: str) -> Column[Any]:
    return _moment(name, server_default=func.now())


def _organization(*, nullable: bool = False, primary_key: bool = False) -> Column[str]:
    return Column(
        "org_id",
        Text,
        ForeignKey("organizations.org_id"),
        nullable=nullable,
        primary_key=primary_key,
    )


organizations = Table(
    "organizations",
    metadata,
    _text("org_id", primary_key=True),
    _text("name"),
    _recorded("created_at"),
)

wallets = Table(
    "wallets",
    metadata,
    _organization(primary_key=True),
    _text("currency"),
    _minor("balance_minor", server_default="0"),
    _minor("debt_limit_minor", server_default="500"),
    _minor("low_balance_minor", server_default="500"),
    _recorded("updated_at"),
    CheckConstraint("debt_limit_minor >= 0", name="wallets_debt_limit_not_negative"),
    CheckConstraint("currency IN ('gbp', 'usd')", name="wallets_currency_known"),
)

agents = Table(
    "agents",
    metadata,
    _text("agent_id", primary_key=True),
    _text("kind"),
    _organization(),
    _recorded("created_at"),
    Index("agents_org", "org_id"),
)

tariffs = Table(
    "tariffs",
    metadata,
    _text("tariff_id", primary_key=True),
    _organization(nullable=True),
    _text("currency"),
    Column("rate_minor_per_minute", Numeric, nullable=False),
    Column("increment_seconds", Integer, nullable=False),
    _minor("minimum_minor"),
    Column("fx_rate", Numeric, nullable=False),
    _text("wallet_currency"),
    _moment("effective_from"),
    CheckConstraint("rate_minor_per_minute >= 0", name="tariffs_rate_not_negative"),
    CheckConstraint("increment_seconds > 0", name="tariffs_increment_positive"),
    CheckConstraint("fx_rate > 0", name="tariffs_fx_rate_positive"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    _text("key", unique=True),
    _text("kind"),
    _organization(),
    _text("debit_account"),
    _text("credit_account"),
    _minor("amount_minor"),
    _text("currency"),
    _minor("balance_after_minor"),
    _moment("occurred_at"),
    _recorded("recorded_at"),
    _text("cause"),
    _text("actor"),
    Column("reverses", Text, ForeignKey("ledger_entries.key"), nullable=True),
    _text("note", server_default=""),
    CheckConstraint("amount_minor > 0", name="ledger_entries_amount_positive"),
    CheckConstraint("debit_account <> credit_account", name="ledger_entries_two_accounts"),
    Index("ledger_entries_org", "org_id", "entry_id"),
    Index("ledger_entries_reverses", "reverses", postgresql_where=text("reverses IS NOT NULL")),
)

calls = Table(
    "calls",
    metadata,
    _text("call_id", primary_key=True),
    _organization(nullable=True),
    _text("state"),
    Column("facts", JSONB, nullable=False),
    _moment("ended_at", nullable=True),
    Column("billed_seconds", Integer),
    _minor("rated_minor", nullable=True),
    _text("rated_currency", nullable=True),
    _minor("amount_minor", nullable=True),
    _text("currency", nullable=True),
    _text("tariff_id", nullable=True),
    _text("workflow_id"),
    _text("note", server_default=""),
    _recorded("first_seen_at"),
    _recorded("updated_at"),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("calls_org", "org_id", "position"),
    Index(
        "calls_waiting_for_money",
        "org_id",
        "ended_at",
        "call_id",
        postgresql_where=text("state = 'debt_limit'"),
    ),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("event_id", BigInteger, Identity(always=True), primary_key=True),
    _text("source"),
    _text("key"),
    _text("type"),
    _text("subject"),
    _text("body"),
    Column("facts", JSONB(none_as_null=True)),
    _text("status"),
    _moment("due_at"),
    _recorded("received_at"),
    _moment("handled_at", nullable=True),
    UniqueConstraint("source", "key", name="webhook_events_once"),
    Index("webhook_events_due", "due_at", "event_id", postgresql_where=text("status = 'waiting'")),
    Index("webhook_events_payment", "subject", postgresql_where=text("source = 'stripe'")),
)

reconciliation_runs = Table(
    "reconciliation_runs",
    metadata,
    _text("run_id", primary_key=True),
    _text("source"),
    _text("workflow_id"),
    _organization(nullable=True),
    Column("dry_run", Boolean, nullable=False),
    Column("daily", Boolean, nullable=False),
    _moment("since"),
    _moment("until"),
    _text("status"),
    _moment("started_at"),
    _moment("finished_at", nullable=True),
    Column("pages", Integer, nullable=False, server_default="0"),
    _moment("reached", nullable=True),
    _text("problem", server_default=""),
    Column("position", BigInteger, Identity(always=True), nullable=False),
    Index("reconciliation_runs_position", "position"),
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
    _organization(nullable=True),
    Column("day", Date, nullable=False),
    Column("checked", Integer, nullable=False),
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
    _text("subject"),
    _text("kind"),
    _text("outcome"),
    _organization(nullable=True),
    _minor("amount_minor", nullable=True),
    _text("currency", nullable=True),
    _moment("occurred_at"),
    Column("due", JSONB, nullable=False),
    _text("detail"),
    Column("facts", JSONB(none_as_null=True)),
    _recorded("found_at"),
    _moment("handed_on_at", nullable=True),
    UniqueConstraint("run_id", "subject", name="reconciliation_findings_once"),
    Index(
        "reconciliation_findings_open",
        "run_id",
        "position",
        postgresql_where=text("outcome = 'open'"),
    ),
    Index("reconciliation_findings_run", "run_id", "position"),
    Index(
        "reconciliation_findings_missed",
        "occurred_at",
        postgresql_where=text("kind = 'missing'"),
    ),
)

api_keys = Table(
    "api_keys",
    metadata,
    _text("key_id", primary_key=True),
    _text("secret_sha256"),
    _text("scope"),
    _organization(nullable=True),
    _text("label"),
    _recorded("created_at"),
    _moment("revoked_at", nullable=True),
    CheckConstraint("(scope = 'organization') = (org_id IS NOT NULL)", name="api_keys_scoped"),
)

# An alert may be about an organisation that does not exist: it references none.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", BigInteger, Identity(always=True), primary_key=True),
    _text("key", unique=True),
    _text("level"),
    _text("title"),
    _text("text"),
    _text("org_id", nullable=True),
    Column("facts", JSONB, nullable=False),
    _text("workflow_id", nullable=True),
    _recorded("raised_at"),
    _moment("delivered_at", nullable=True),
    _text("problem", nullable=True),
    Index(
        "alerts_waiting",
        "alert_id",
        postgresql_where=text("delivered_at IS NULL AND problem IS NULL"),
    ),
)

alarms = Table(
    "alarms",
    metadata,
    _text("alarm", primary_key=True),
    Column("raised", Boolean, nullable=False),
    _recorded("since"),
)

stripe_customers = Table(
    "stripe_customers",
    metadata,
    _organization(primary_key=True),
    _text("customer_id", unique=True),
    _recorded("created_at"),
)
