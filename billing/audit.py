"""The audit: does the ledger prove every balance, and has all that moved money its entry?"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.alert import Alert, AlertLevel
from billing.ledger import Account, EntryKind

# How many flaws an alert names; all are in the audit's report.
MOST_NAMED = 20


class Check(StrEnum):
    """What is looked at. None of it can happen by itself: somebody, or a defect, changed a row."""

    BALANCE = "balance"
    CHAIN = "chain"
    CURRENCY = "currency"
    ACCOUNTS = "accounts"
    REVERSAL = "reversal"
    ORGANIZATION_WITHOUT_WALLET = "organization_without_wallet"
    CALL_WITHOUT_ENTRY = "call_without_entry"
    CALL_OF_OTHER_AMOUNT = "call_of_other_amount"
    ENTRY_WITHOUT_CALL = "entry_without_call"
    MESSAGE_WITHOUT_ENTRY = "message_without_entry"
    MESSAGE_OF_OTHER_AMOUNT = "message_of_other_amount"
    ENTRY_WITHOUT_MESSAGE = "entry_without_message"
    ADJUSTMENT_WITHOUT_ENTRY = "adjustment_without_entry"
    ADJUSTMENT_OF_OTHER_AMOUNT = "adjustment_of_other_amount"
    ENTRY_WITHOUT_ADJUSTMENT = "entry_without_adjustment"
    REPORT_WITHOUT_CALL = "report_without_call"
    PAYMENT_WITHOUT_CREDIT = "payment_without_credit"
    RECHARGE_WITHOUT_CREDIT = "recharge_without_credit"
    RECHARGE_OF_OTHER_AMOUNT = "recharge_of_other_amount"
    RETURN_WITHOUT_CREDIT = "return_without_credit"
    RETURN_WITHOUT_ENTRY = "return_without_entry"
    REFUNDED_TOO_MUCH = "refunded_too_much"
    DISPUTE_WITHOUT_CREDIT = "dispute_without_credit"
    DISPUTE_WITHOUT_ENTRY = "dispute_without_entry"
    ENTRY_WITHOUT_DISPUTE = "entry_without_dispute"


# Stands for the wallet of the entry's own organisation.
WALLET = "wallet"
# From which account to which an entry of each kind may move money.
MOVES: Mapping[EntryKind, tuple[tuple[str, str], ...]] = {
    EntryKind.ADJUSTMENT: (
        (Account.ADJUSTMENTS, WALLET),
        (WALLET, Account.ADJUSTMENTS),
        (Account.GOODWILL, WALLET),
    ),
    EntryKind.CALL: ((WALLET, Account.USAGE_CALLS),),
    EntryKind.CORRECTION: ((WALLET, Account.USAGE_CALLS), (Account.USAGE_CALLS, WALLET)),
    EntryKind.DISPUTE: ((WALLET, Account.DISPUTES),),
    EntryKind.DISPUTE_REVERSAL: ((Account.DISPUTES, WALLET),),
    EntryKind.REFUND: ((WALLET, Account.STRIPE),),
    EntryKind.REFUND_REVERSAL: ((Account.STRIPE, WALLET),),
    EntryKind.SMS: ((WALLET, Account.USAGE_SMS),),
    EntryKind.SMS_REVERSAL: ((Account.USAGE_SMS, WALLET),),
    EntryKind.TOPUP: ((Account.STRIPE, WALLET),),
}
# What an entry of a kind reverses or corrects.
REVERSES: Mapping[EntryKind, EntryKind] = {
    EntryKind.CORRECTION: EntryKind.CALL,
    EntryKind.DISPUTE_REVERSAL: EntryKind.DISPUTE,
    EntryKind.REFUND_REVERSAL: EntryKind.REFUND,
    EntryKind.SMS_REVERSAL: EntryKind.SMS,
}
# Those that give back the whole of it: a dispute may return less, and a correction is a difference.
WHOLE_REVERSALS = (EntryKind.REFUND_REVERSAL, EntryKind.SMS_REVERSAL)


@dataclass(frozen=True, slots=True)
class Flaw:
    """A row that does not agree with the others: which, of whom, and in what."""

    check: Check
    subject: str
    detail: str
    org_id: str | None = None

    @property
    def alarm(self) -> str:
        """The alarm that is raised as long as it is there."""
        return f"audit:{self.check}:{self.subject}"


@dataclass(frozen=True, slots=True)
class Audit:
    """One audit: what it looked at, and what it found. Nothing is ever repaired by it."""

    started_at: datetime
    wallets: int
    entries: int
    flaws: tuple[Flaw, ...] = ()
    finished_at: datetime | None = None
    position: int = 0


def found(audit_key: str, new: Sequence[Flaw], workflow_id: str) -> Alert:
    """Name what was not there at the last audit."""
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
    """Say that what was found before agrees again."""
    named = ", ".join(sorted(alarms)[:MOST_NAMED])
    return Alert(
        key=f"{audit_key}:gone",
        level=AlertLevel.INFO,
        title=f"{len(alarms)} rows that did not agree do so again",
        text=named,
        workflow_id=workflow_id,
    )
