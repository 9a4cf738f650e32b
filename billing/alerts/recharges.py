"""Alerts about auto-recharge."""

from datetime import datetime

from billing.alerts.alert import Alert, AlertLevel
from billing.recharges.attempt import Attempt
from billing.recharges.declines import cool_down
from billing.recharges.history import RechargeHistory
from billing.recharges.recharge import HoldReason, declined_in_a_row, recharge_workflow_id


def failure_alert(history: RechargeHistory, attempt: Attempt, suspended_for: str | None) -> Alert:
    """Return the alert about a first failure: what the bank said, and what happens next."""
    code = attempt.code or "unknown"
    declines = declined_in_a_row(history, attempt.card)
    if suspended_for is not None:
        what = "The card is not charged any more. Ask the customer for another card or a top-up."
    else:
        again = attempt.created_at + cool_down(max(len(declines), 1))
        what = f"It is tried again at {again:%Y-%m-%d %H:%M} UTC; nothing to do yet."
    level = AlertLevel.HIGH if suspended_for else AlertLevel.MEDIUM
    title = f"An automatic recharge failed: {code}"
    return _alert(f"failed/{attempt.attempt_id}", level, title, attempt, what)


def suspension_alert(attempt: Attempt, suspended_for: str) -> Alert:
    """Return the alert that a card is not tried any more, after failures that were alerted."""
    what = "The card is not charged any more. Ask the customer for another card or a top-up."
    title = f"Automatic recharges are suspended: {suspended_for}"
    return _alert(f"suspended/{attempt.attempt_id}", AlertLevel.HIGH, title, attempt, what)


def no_card_alert(org_id: str, now: datetime) -> Alert:
    """Return the alert that money is short and there is no card to charge any more."""
    what = "Stripe has no card of theirs any more. Ask them to top up by checkout, and to save one."
    return Alert(
        key=f"recharge/no-card/{org_id}/{now:%Y-%m-%d}",
        level=AlertLevel.HIGH,
        title="An automatic recharge found no saved card",
        text=f"{org_id}: {what}",
        org_id=org_id,
        facts=(("Reason", str(HoldReason.NO_SAVED_CARD)),),
        workflow_id=recharge_workflow_id(org_id),
    )


def above_cap_alert(org_id: str, why: str, now: datetime) -> Alert:
    """Return the alert that a charge is more than a card is charged without a person."""
    return Alert(
        key=f"recharge/above-cap/{org_id}/{now:%Y-%m-%d}",
        level=AlertLevel.HIGH,
        title="An automatic recharge waits for a person: it is above the caps of a card",
        text=f"{org_id}: {why} If that is plausible, reprocess charges it, this once.",
        org_id=org_id,
        facts=(("Reason", str(HoldReason.RECHARGE_ABOVE_CAP)),),
        workflow_id=recharge_workflow_id(org_id),
    )


def refusal_alert(attempt: Attempt, why: str) -> Alert:
    """Return the alert that Stripe refuses the request for a charge, which is nobody's decline."""
    what = (
        f"{why} No bank was asked, and nothing counts as a decline. It is tried again by itself;"
        " mend the cause, in Stripe's dashboard or in the code."
    )
    title = "Stripe refuses to charge a saved card: the request is at fault"
    return _alert(f"refused/{attempt.attempt_id}", AlertLevel.HIGH, title, attempt, what)


def link_alert(attempt: Attempt) -> Alert:
    """Return the alert that the customer has to confirm a payment, and where the link is."""
    what = (
        f"Send the customer the link in `GET /v1/organizations/{attempt.org_id}/auto-recharge`;"
        f" it is withdrawn at {attempt.deadline:%Y-%m-%d %H:%M} UTC."
    )
    title = "The bank wants the customer to confirm an automatic recharge"
    return _alert(f"link/{attempt.attempt_id}", AlertLevel.MEDIUM, title, attempt, what)


def recovery_alert(attempt: Attempt) -> Alert:
    """Return the alert that a card pays again after failures that were alerted."""
    title = "Automatic recharges work again"
    return _alert(f"works/{attempt.attempt_id}", AlertLevel.INFO, title, attempt, "Nothing to do.")


def _alert(key: str, level: AlertLevel, title: str, attempt: Attempt, what: str) -> Alert:
    return Alert(
        key=f"recharge/{key}",
        level=level,
        title=title,
        text=f"{attempt.org_id}: {what}",
        org_id=attempt.org_id,
        facts=(
            ("Amount", str(attempt.amount)),
            ("Attempt", attempt.attempt_id),
            ("Reason", attempt.code or "-"),
        ),
        workflow_id=recharge_workflow_id(attempt.org_id),
    )
