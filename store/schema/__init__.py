"""The tables, by subject. `migrations/` makes them; a test holds the two together."""

from store.schema.access import api_keys, idempotency_keys
from store.schema.accounts import (
    discarded_payments,
    ledger_entries,
    organizations,
    stripe_customers,
    wallets,
)
from store.schema.adjusting import adjustments
from store.schema.alerting import alarms, alerts, audits
from store.schema.columns import metadata
from store.schema.deciding import decisions
from store.schema.gating import calls_in_progress, freezes
from store.schema.messaging import messages, sms_tariffs
from store.schema.recharging import disputes, recharge_attempts, recharge_settings
from store.schema.reports import reconciliation_days, reconciliation_findings, reconciliation_runs
from store.schema.usage import agents, calls, tariffs, webhook_events

__all__ = [
    "adjustments",
    "agents",
    "alarms",
    "alerts",
    "api_keys",
    "audits",
    "calls",
    "calls_in_progress",
    "decisions",
    "discarded_payments",
    "disputes",
    "freezes",
    "idempotency_keys",
    "ledger_entries",
    "messages",
    "metadata",
    "organizations",
    "recharge_attempts",
    "recharge_settings",
    "reconciliation_days",
    "reconciliation_findings",
    "reconciliation_runs",
    "sms_tariffs",
    "stripe_customers",
    "tariffs",
    "wallets",
    "webhook_events",
]
