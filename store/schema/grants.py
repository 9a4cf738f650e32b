"""What the service may do with each table, beside reading it; whatever is not here it may not.

`callwallet setup` gives the service's role exactly this, and takes what is more. The owner may do
all, and only migrates. A table without a line is one that the service cannot even read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

REVISIONS = "alembic_version"


@dataclass(frozen=True, slots=True)
class Grant:
    """`updates` are the columns that may change, or the whole row. Nobody needs TRUNCATE."""

    insert: bool = True
    updates: tuple[str, ...] | bool = False
    delete: bool = False

    @property
    def is_append_only(self) -> bool:
        """Whether what is written stays as it is."""
        return not (self.updates or self.delete)


READ_ONLY = Grant(insert=False)
APPEND_ONLY = Grant()
WHOLE_ROW = Grant(updates=True)

# Beside money and what people have decided, rows only say how far something is: those are whole.
# Of all else the columns are named, so that whose it is, how much and when cannot be changed.
GRANTS: Mapping[str, Grant] = {
    "adjustments": Grant(
        updates=("state", "decision", "settled_at", "balance_before_minor", "over_by_minor")
    ),
    "admin_log": APPEND_ONLY,
    "agents": Grant(updates=("answered_by", "answered_by_kind"), delete=True),
    "alarms": WHOLE_ROW,
    REVISIONS: READ_ONLY,
    "alerts": Grant(updates=("delivered_at", "problem", "given_up_at")),
    "api_keys": Grant(updates=("revoked_at", "expires_at", "last_used_at")),
    "audits": APPEND_ONLY,
    "calls": WHOLE_ROW,
    "calls_in_progress": Grant(updates=True, delete=True),
    "card_caps": APPEND_ONLY,
    "decisions": APPEND_ONLY,
    "discarded_payments": Grant(updates=("note", "discarded_at")),
    "disputes": Grant(updates=("org_id", "is_open", "updated_at")),
    "former_customers": APPEND_ONLY,
    # `callwallet setup` writes them, as the owner.
    "free_call_rules": READ_ONLY,
    "freezes": Grant(updates=("reason", "frozen_by", "frozen_at", "thawed_by", "thawed_at")),
    "idempotency_keys": Grant(updates=("claimed_until", "status", "body"), delete=True),
    "ledger_entries": APPEND_ONLY,
    "messages": WHOLE_ROW,
    "organizations": APPEND_ONLY,
    "recharge_attempts": Grant(
        updates=("state", "payment_id", "code", "link", "session_id", "deadline", "sent_at")
    ),
    "recharge_settings": WHOLE_ROW,
    "reconciliation_days": Grant(updates=("checked",)),
    "reconciliation_findings": Grant(updates=("outcome", "handed_on_at")),
    "reconciliation_runs": Grant(updates=("status", "pages", "reached", "problem", "finished_at")),
    "registrations": Grant(updates=("until",)),
    "saved_cards": WHOLE_ROW,
    "sms_tariffs": APPEND_ONLY,
    "stripe_customers": Grant(delete=True),
    "tariffs": APPEND_ONLY,
    "wallets": Grant(
        updates=("balance_minor", "debt_limit_minor", "updated_at", "recharge_below_minor")
    ),
    "webhook_events": WHOLE_ROW,
}
