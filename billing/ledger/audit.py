"""The audit: what it checks, the rules that entries are held to, and what it finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.ledger.entry import Account, EntryKind


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
    CALL_OF_OTHER_ORGANIZATION = "call_of_other_organization"
    CALL_CHARGED_AND_DISCARDED = "call_charged_and_discarded"
    ENTRY_WITHOUT_CALL = "entry_without_call"
    MESSAGE_WITHOUT_ENTRY = "message_without_entry"
    MESSAGE_OF_OTHER_AMOUNT = "message_of_other_amount"
    MESSAGE_OF_OTHER_ORGANIZATION = "message_of_other_organization"
    MESSAGE_CHARGED_AND_DISCARDED = "message_charged_and_discarded"
    ENTRY_WITHOUT_MESSAGE = "entry_without_message"
    ADJUSTMENT_WITHOUT_ENTRY = "adjustment_without_entry"
    ADJUSTMENT_OF_OTHER_AMOUNT = "adjustment_of_other_amount"
    ENTRY_WITHOUT_ADJUSTMENT = "entry_without_adjustment"
    REPORT_WITHOUT_CALL = "report_without_call"
    PAYMENT_WITHOUT_CREDIT = "payment_without_credit"
    RECHARGE_WITHOUT_CREDIT = "recharge_without_credit"
    RECHARGE_OF_OTHER_AMOUNT = "recharge_of_other_amount"
    RECHARGE_OF_OTHER_ORGANIZATION = "recharge_of_other_organization"
    RETURN_WITHOUT_CREDIT = "return_without_credit"
    RETURN_WITHOUT_ENTRY = "return_without_entry"
    REFUNDED_TOO_MUCH = "refunded_too_much"
    DISPUTE_WITHOUT_CREDIT = "dispute_without_credit"
    DISPUTE_WITHOUT_ENTRY = "dispute_without_entry"
    DISPUTE_OPEN_THOUGH_CLOSED = "dispute_open_though_closed"
    ENTRY_WITHOUT_DISPUTE = "entry_without_dispute"
    WAITING_WITHOUT_PROCESS = "waiting_without_process"
    WAITING_THOUGH_PAYABLE = "waiting_though_payable"
    NOT_CHECKED = "not_checked"


# Stands for the wallet of the entry's own organisation in `MOVES`.
WALLET = "wallet"
# The accounts, from and to, between which an entry of each kind may move money.
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
# The kind of entry that an entry of each kind reverses or corrects.
REVERSES: Mapping[EntryKind, EntryKind] = {
    EntryKind.CORRECTION: EntryKind.CALL,
    EntryKind.DISPUTE_REVERSAL: EntryKind.DISPUTE,
    EntryKind.REFUND_REVERSAL: EntryKind.REFUND,
    EntryKind.SMS_REVERSAL: EntryKind.SMS,
}
# The kinds that reverse the whole amount. A dispute may return less; a correction is a difference.
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
        """The name of the alarm that is raised as long as the flaw is there."""
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
