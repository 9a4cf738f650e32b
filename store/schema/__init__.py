"""The tables, by subject. `migrations/` creates them; a test holds the two to each other."""

from store.schema.adjustments import adjustments
from store.schema.admin_log import admin_log
from store.schema.alerts import alarms, alerts
from store.schema.calls import calls, calls_in_progress, free_call_rules, freezes
from store.schema.columns import metadata
from store.schema.idempotency import idempotency_keys
from store.schema.inbox import webhook_events
from store.schema.ledger import audits, ledger_entries, wallets
from store.schema.messages import messages
from store.schema.organizations import agents, api_keys, organizations, registrations
from store.schema.parking import decisions
from store.schema.payments import (
    discarded_payments,
    former_customers,
    saved_cards,
    stripe_customers,
)
from store.schema.recharges import card_caps, disputes, recharge_attempts, recharge_settings
from store.schema.reconciliation import (
    reconciliation_days,
    reconciliation_findings,
    reconciliation_runs,
)
from store.schema.tariffs import sms_tariffs, tariffs

__all__ = [
    "adjustments",
    "admin_log",
    "agents",
    "alarms",
    "alerts",
    "api_keys",
    "audits",
    "calls",
    "calls_in_progress",
    "card_caps",
    "decisions",
    "discarded_payments",
    "disputes",
    "former_customers",
    "free_call_rules",
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
    "registrations",
    "saved_cards",
    "sms_tariffs",
    "stripe_customers",
    "tariffs",
    "wallets",
    "webhook_events",
]
