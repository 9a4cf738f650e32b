"""Alerts about adjustments. They hold neither reasons nor names, for alerts go to Slack."""

from billing.adjustments import Adjustment, AdjustmentState, workflow_id
from billing.alerts.alert import Alert, AlertLevel
from billing.ledger.entry import adjustment_key


def alert_about(adjustment: Adjustment) -> Alert | None:
    """Return the alert about an adjustment as it stands; None if nobody has to know."""
    if adjustment.state is AdjustmentState.PENDING:
        return _waits(adjustment) if adjustment.needs_approval else None
    decision, is_applied = adjustment.decision, adjustment.state is AdjustmentState.APPLIED
    if is_applied and decision is not None and decision.by.key_id is None:
        return _applied_on_a_signal(adjustment)
    return None


def _waits(adjustment: Adjustment) -> Alert:
    return Alert(
        f"{adjustment_key(adjustment.adjustment_id)}:waits",
        AlertLevel.MEDIUM,
        "An adjustment waits for a second operator",
        "Approve or reject it, with another key than the one that asked for it. It expires on"
        f" {adjustment.expires_at:%Y-%m-%d at %H:%M} UTC.",
        adjustment.org_id,
        _facts(adjustment),
        workflow_id(adjustment.adjustment_id),
    )


def _applied_on_a_signal(adjustment: Adjustment) -> Alert:
    return Alert(
        f"{adjustment_key(adjustment.adjustment_id)}:signal",
        AlertLevel.HIGH,
        "An adjustment was approved by a signal, without a key",
        "Whoever can reach Temporal may have sent it, the one who asked included. Find out who it"
        " was; if nobody should have, take the money back with an adjustment the other way.",
        adjustment.org_id,
        _facts(adjustment),
        workflow_id(adjustment.adjustment_id),
    )


def _facts(adjustment: Adjustment) -> tuple[tuple[str, str], ...]:
    return (
        ("Adjustment", adjustment.adjustment_id),
        ("Direction", adjustment.direction),
        ("Amount", str(adjustment.amount)),
    )
