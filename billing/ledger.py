"""The ledger: transfers between two accounts under keys that can never be used twice."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.money import Money


class EntryKind(StrEnum):
    """What an entry is for."""

    ADJUSTMENT = "adjustment"
    CALL = "call"
    CORRECTION = "correction"
    DISPUTE = "dispute"
    DISPUTE_REVERSAL = "dispute_reversal"
    REFUND = "refund"
    REFUND_REVERSAL = "refund_reversal"
    SMS = "sms"
    SMS_REVERSAL = "sms_reversal"
    TOPUP = "topup"


class Outcome(StrEnum):
    """The three answers to every money operation."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class Account(StrEnum):
    """The accounts that are not wallets."""

    USAGE_CALLS = "usage:calls"
    USAGE_SMS = "usage:sms"
    STRIPE = "stripe"
    DISPUTES = "disputes"
    ADJUSTMENTS = "adjustments"
    GOODWILL = "goodwill"


@dataclass(frozen=True, slots=True)
class Transfer:
    """An entry to be made: `amount` (positive) leaves `debit_account` for `credit_account`.

    A wallet is an account like any other; `refusable` transfers stop at its debt limit.
    """

    key: str
    kind: EntryKind
    org_id: str
    debit_account: str
    credit_account: str
    amount: Money
    occurred_at: datetime
    cause: str
    actor: str
    refusable: bool = False
    reverses: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer that was made, with the wallet's balance after it."""

    entry_id: int
    key: str
    kind: EntryKind
    org_id: str
    debit_account: str
    credit_account: str
    amount: Money
    balance_after: Money
    occurred_at: datetime
    recorded_at: datetime
    cause: str
    actor: str
    reverses: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a transfer was refused: it would take the wallet `over_by` below its debt limit."""

    code: str
    would_be: Money
    over_by: Money


@dataclass(frozen=True, slots=True)
class Posting:
    """The one answer of every money operation.

    `entry` is the entry that was made, or the one that had been made before (`duplicate`), or None
    (`refused`). Both balances are the wallet's, around this operation alone.
    """

    outcome: Outcome
    entry: Entry | None
    balance_before: Money
    balance_after: Money
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """A money operation: what was asked of the ledger, and its answer."""

    transfer: Transfer
    posting: Posting


@dataclass(frozen=True, slots=True)
class Tally:
    """How many money operations had which answer, where there are too many to give each."""

    applied: int = 0
    duplicate: int = 0
    refused: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.applied + other.applied,
            self.duplicate + other.duplicate,
            self.refused + other.refused,
        )


NO_POSTINGS = Tally()


@dataclass(frozen=True, slots=True)
class Booked:
    """What the ledger holds under a key, with what reverses or corrects it: `entries` in all.

    `net` is what the wallet of `org_id` has paid (negative: was given).
    """

    org_id: str
    net: Money
    entries: int


def same_again(entry: Entry) -> Transfer:
    """Draw up an entry once more, to which the ledger's answer is that it is a duplicate."""
    return Transfer(
        key=entry.key,
        kind=entry.kind,
        org_id=entry.org_id,
        debit_account=entry.debit_account,
        credit_account=entry.credit_account,
        amount=entry.amount,
        occurred_at=entry.occurred_at,
        cause=entry.cause,
        actor=entry.actor,
        reverses=entry.reverses,
        note=entry.note,
    )


def tally(postings: Iterable[Posting | None]) -> Tally:
    """Count answers by their outcome; what came without one asked nothing of the ledger."""
    counts = Counter(one.outcome for one in postings if one is not None)
    return Tally(**{outcome.value: counts[outcome] for outcome in Outcome})


def wallet_account(org_id: str) -> str:
    """Name the account of an organisation's wallet."""
    return f"wallet:{org_id}"


def call_key(call_id: str) -> str:
    """Key the charge for a call."""
    return f"call:{call_id}"


def call_correction_key(call_id: str, number: int) -> str:
    """Key the n-th correction (from 1) of the charge for a call."""
    return f"call:{call_id}:correction:{number}"


def message_key(sid: str) -> str:
    """Key the charge for a message; `reversal_key` of it gives the charge back."""
    return f"sms:{sid}"


def payment_credit_key(payment_id: str) -> str:
    """Key the credit for a payment."""
    return f"payment:{payment_id}:credit"


def refund_key(refund_id: str) -> str:
    """Key what a refund takes from the wallet."""
    return f"refund:{refund_id}"


def dispute_key(dispute_id: str, withdrawal: int = 1) -> str:
    """Key the n-th time (from 1) that a dispute takes from the wallet; appeals make it twice."""
    return f"dispute:{dispute_id}" if withdrawal == 1 else f"dispute:{dispute_id}:{withdrawal}"


def adjustment_key(adjustment_id: str) -> str:
    """Key what an operator has given or taken by hand."""
    return f"adjustment:{adjustment_id}"


def reversal_key(key: str) -> str:
    """Key what gives back that which was taken under `key`."""
    return f"{key}:reversal"
