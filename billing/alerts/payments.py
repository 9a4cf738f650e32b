"""Alerts about payments whose data at Stripe is not what it was, or not what it should be."""

from collections.abc import Sequence
from datetime import date

from billing.alerts.alert import Alert, AlertLevel
from billing.ledger.entry import Entry
from billing.payments.difference import Difference
from billing.payments.payment import Payment, payment_workflow_id


def difference_alert(payment: Payment, credit: Entry, found: Sequence[Difference]) -> Alert:
    """Return the alert that Stripe says something else of a payment than what was credited.

    It has one key for each set of differences, so that another edit is another alert.
    """
    return Alert(
        key=f"payment/{payment.payment_id}/differs/{'+'.join(found)}",
        level=AlertLevel.MEDIUM,
        title="Stripe says something else of a payment than what was credited",
        text=f"{credit.amount} were credited to {credit.org_id}, and that stays. What is refunded"
        f" or disputed is taken from {credit.org_id}. Somebody has edited the payment in Stripe, or"
        " the customer: put that right there. If the credit itself was wrong, move the money by two"
        " adjustments.",
        org_id=credit.org_id,
        facts=(
            ("Payment", payment.payment_id),
            ("Differs in", ", ".join(found)),
            ("Stripe says", _said(payment)),
        ),
        workflow_id=payment_workflow_id(payment.payment_id),
    )


def ignored_alert(payment: Payment, org_id: str) -> Alert:
    """Return the alert that a payment names an organisation or customer of ours, and is ignored."""
    return Alert(
        key=f"payment/{payment.payment_id}/ignored",
        level=AlertLevel.INFO,
        title="A payment at Stripe is not taken for a top-up",
        text=f"It names {org_id} or their customer, and does not say in its metadata that its"
        " `type` is `wallet_topup` or `wallet_auto_recharge`. Nothing was credited. If it is of"
        " another product, there is nothing to do. If it is a top-up, add that type, `org_id` and"
        " `amount_minor` to its metadata in Stripe, and resend its event.",
        org_id=org_id,
        facts=(("Payment", payment.payment_id), ("Stripe says", _said(payment))),
    )


def other_mode_alert(day: date, *, live: bool) -> Alert:
    """Return the alert that events come that are not of the API key's mode; one key a day.

    `live` is the key's mode.
    """
    key, events = ("live", "test") if live else ("test", "live")
    return Alert(
        key=f"stripe/{events}-mode/{day}",
        level=AlertLevel.HIGH,
        title=f"Stripe sends events of {events} mode, and the API key is of {key} mode",
        text=f"They are answered and ignored, for with this key Stripe knows no payment of {events}"
        " mode. Remove the endpoint from the other mode in Stripe's dashboard; or, if it is the key"
        " that is wrong, set `STRIPE_API_KEY` and `STRIPE_MODE` and reconcile the time since.",
    )


def _said(payment: Payment) -> str:
    """Write down what Stripe says, without anything personal."""
    paid = f"{payment.received_minor} minor units of {payment.currency.upper()}"
    return (
        f"{payment.status}, {paid}, type {payment.type or 'none'}, organisation"
        f" {payment.owner or 'none'}, customer {payment.customer_id or 'none'}"
    )
