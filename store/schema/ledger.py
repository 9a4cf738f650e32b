"""Wallets, their ledger, and what audits found."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from store.schema.columns import metadata, minor, moment, organization, recorded, string

wallets = Table(
    "wallets",
    metadata,
    organization(primary_key=True),
    string("currency"),
    minor("balance_minor", server_default="0"),
    minor("debt_limit_minor", server_default="500"),
    minor("low_balance_minor", server_default="500"),
    recorded("updated_at"),
    minor("recharge_below_minor", nullable=True),
    CheckConstraint("debt_limit_minor >= 0", name="wallets_debt_limit_not_negative"),
    CheckConstraint("currency IN ('gbp', 'usd')", name="wallets_currency_known"),
)

ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("entry_id", BigInteger, Identity(always=True), primary_key=True),
    string("key", unique=True),
    string("kind"),
    organization(),
    string("debit_account"),
    string("credit_account"),
    minor("amount_minor"),
    string("currency"),
    minor("balance_after_minor"),
    moment("occurred_at"),
    recorded("recorded_at"),
    string("cause"),
    string("actor"),
    Column("reverses", Text, ForeignKey("ledger_entries.key"), nullable=True),
    string("note", server_default=""),
    CheckConstraint("amount_minor > 0", name="ledger_entries_amount_positive"),
    CheckConstraint("debit_account <> credit_account", name="ledger_entries_two_accounts"),
    Index("ledger_entries_org", "org_id", "entry_id"),
    # Few entries reverse another one: the index holds only those.
    Index("ledger_entries_reverses", "reverses", postgresql_where=text("reverses IS NOT NULL")),
)


audits = Table(
    "audits",
    metadata,
    Column("position", BigInteger, Identity(always=True), primary_key=True),
    moment("started_at"),
    recorded("finished_at"),
    Column("wallets", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),
    Column("flaws", JSONB, nullable=False),
)
