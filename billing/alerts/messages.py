"""Alerts about messages that nobody pays for."""

from collections.abc import Iterable

from billing.alerts.alert import Alert, AlertLevel
from billing.messages.message import MessageBill, message_workflow_id


def free_alerts(bills: Iterable[MessageBill]) -> list[Alert]:
    """Return the alert about each organisation of these messages that sends for nothing.

    There is one an organisation, for ever, and one for all that is nobody's.
    """
    free = {one.org_id: one for one in bills if one.free is not None}
    return [_alert(one) for one in free.values()]


def _alert(bill: MessageBill) -> Alert:
    return Alert(
        key=f"free-messages:{bill.org_id or ''}",
        level=AlertLevel.MEDIUM,
        title="Messages are sent over a channel that has no price yet",
        text=f"Nothing was charged: {bill.free}. Nor is anything for WhatsApp or RCS until each has"
        " a price (`POST /v1/sms-tariffs` with its `channel`), which begins in the future. What is"
        " sent from then on is charged, or waits as `no_tariff`. Other messages of this"
        " organisation are not told.",
        org_id=bill.org_id,
        facts=(("Message", bill.sid),),
        workflow_id=message_workflow_id(bill.sid),
    )
