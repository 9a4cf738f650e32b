"""The correction of what was charged for a call: the difference, as an entry."""

from datetime import datetime

from billing.ledger.entry import (
    Account,
    Booked,
    EntryKind,
    Transfer,
    call_correction_key,
    call_key,
    wallet_account,
)
from billing.tariffs.tariff import Charge


def correction(call_id: str, occurred_at: datetime, charge: Charge, booked: Booked) -> Transfer:
    """Return the difference as an entry: more is charged, and may be refused; less is given back.

    It is of whoever paid, whoever has the assistant now. Its key counts the entries that the call
    has so far, so that each correction has its own.
    """
    more = charge.amount - booked.net
    wallet, usage = wallet_account(booked.org_id), Account.USAGE_CALLS
    is_charge = more.amount_minor > 0
    return Transfer(
        key=call_correction_key(call_id, booked.entries),
        kind=EntryKind.CORRECTION,
        org_id=booked.org_id,
        debit_account=wallet if is_charge else usage,
        credit_account=usage if is_charge else wallet,
        amount=more if is_charge else -more,
        occurred_at=occurred_at,
        cause=f"vapi call {call_id}",
        actor="system",
        refusable=is_charge,
        reverses=call_key(call_id),
        note=f"{charge.explain()}; {booked.net} had been charged",
    )
