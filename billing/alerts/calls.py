"""Alerts about calls that wait for a person."""

from datetime import datetime

from billing.alerts.alert import Alert, AlertLevel
from billing.calls.call import CallBill, call_workflow_id


def length_unknown(bill: CallBill, now: datetime) -> Alert:
    """Return the alert about a call of whose length Vapi itself says nothing that can be.

    There is one a day and organisation: many such calls at once have one cause.
    """
    return _alert(bill.call_id, bill.org_id, bill.unknown, "Nothing was charged.", now)


def correction_impossible(call_id: str, org_id: str | None, detail: str, now: datetime) -> Alert:
    """Return the alert about a charge that Vapi's list contradicts by what cannot be."""
    return _alert(call_id, org_id, detail, "Nothing was corrected.", now)


def _alert(call_id: str, org_id: str | None, why: str, so: str, now: datetime) -> Alert:
    return Alert(
        key=f"call-length:{org_id}:{now:%Y-%m-%d}",
        level=AlertLevel.HIGH,
        title="Nobody knows how long a call took",
        text=f"{why} {so} Look the call up in Vapi's dashboard. What waits as `unknown_duration` is"
        " charged by the length that you state (`POST /v1/calls/{call_id}/length`). Others of the"
        " day are not told.",
        org_id=org_id,
        facts=(("Call", call_id),),
        workflow_id=call_workflow_id(call_id),
    )
