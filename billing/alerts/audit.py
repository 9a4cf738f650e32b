"""Alerts about audits."""

from collections.abc import Collection, Sequence

from billing.alerts.alert import Alert, AlertLevel
from billing.ledger.audit import Flaw

# How many flaws an alert names. All of them are in the audit's report.
MOST_NAMED = 20


def found(audit_key: str, new: Sequence[Flaw], workflow_id: str) -> Alert:
    """Return the alert that names the flaws which were not there at the last audit."""
    return Alert(
        key=f"{audit_key}:found",
        level=AlertLevel.CRITICAL,
        title=f"The audit found {len(new)} rows that do not agree",
        text="Nothing was changed. Find out who changed what, then put it right: a wrong entry by"
        " an adjustment, a balance by the sum of its entries.",
        facts=tuple((f"{one.check}: {one.subject}", one.detail) for one in new[:MOST_NAMED]),
        workflow_id=workflow_id,
    )


def gone(audit_key: str, alarms: Collection[str], workflow_id: str) -> Alert:
    """Return the alert that rows which did not agree do so again."""
    named = ", ".join(sorted(alarms)[:MOST_NAMED])
    return Alert(
        key=f"{audit_key}:gone",
        level=AlertLevel.INFO,
        title=f"{len(alarms)} rows that did not agree do so again",
        text=named,
        workflow_id=workflow_id,
    )
