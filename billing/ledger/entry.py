"""The ledger: transfers between two accounts under keys that can never be used twice."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from billing.ledger.money import Money
from billing.text import SUPPORT


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

    def for_organization(self) -> "Entry":
        """Return what an organisation is shown of it: that a person has made it, and not who."""
        return self if self.actor == "system" else replace(self, actor=SUPPORT)


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

    def for_organization(self) -> "Posting":
        """Return what an organisation is shown of it."""
        return replace(self, entry=self.entry and self.entry.for_organization())

    @property
    def gives(self) -> bool:
        """Whether its entry, now or before, has given the wallet money that may pay what waits.

        A duplicate counts too. Whoever made the entry may have been cut off before it told anybody.
        """
        return self.entry is not None and (
            self.entry.credit_account == wallet_account(self.entry.org_id)
        )

    @property
    def refused_amount(self) -> Money | None:
        """What was to be taken from the wallet, and was not; None if nothing was refused."""
        return self.balance_before - self.refusal.would_be if self.refusal else None


@dataclass(frozen=True, slots=True)
class Operation:
    """A money operation: what was asked of the ledger, and its answer."""

    transfer: Transfer
    posting: Posting


@dataclass(frozen=True, slots=True)
class PostingCounts:
    """How many money operations had which outcome, where there are too many to list."""

    applied: int = 0
    duplicate: int = 0
    refused: int = 0

    def __add__(self, other: "PostingCounts") -> "PostingCounts":
        return PostingCounts(
            self.applied + other.applied,
            self.duplicate + other.duplicate,
            self.refused + other.refused,
        )


NO_POSTINGS = PostingCounts()


@dataclass(frozen=True, slots=True)
class Booked:
    """The sum of an entry and of those that reverse or correct it, `entries` of them in all.

    `net` is what the wallet of `org_id` has paid for them, negative if it was given money.
    """

    org_id: str
    net: Money
    entries: int


def same_again(entry: Entry) -> Transfer:
    """Return the transfer of an entry again. Posting it gives the entry, as a duplicate."""
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


def given_money(postings: Iterable[Posting | None]) -> frozenset[str]:
    """Return the organisations that were given money, which may pay what waits for them."""
    return frozenset(one.entry.org_id for one in postings if one and one.gives and one.entry)


def tally(postings: Iterable[Posting | None]) -> PostingCounts:
    """Count postings by their outcome. None is not counted: the ledger was not asked."""
    counts = Counter(one.outcome for one in postings if one is not None)
    return PostingCounts(**{outcome.value: counts[outcome] for outcome in Outcome})


def wallet_account(org_id: str) -> str:
    """Return the account of an organisation's wallet."""
    return f"wallet:{org_id}"


def call_key(call_id: str) -> str:
    """Return the key of the charge for a call."""
    return f"call:{call_id}"


def call_correction_key(call_id: str, number: int) -> str:
    """Return the key of the n-th correction (from 1) of the charge for a call."""
    return f"call:{call_id}:correction:{number}"


def message_key(sid: str) -> str:
    """Return the key of the charge for a message. `reversal_key` makes that of its reversal."""
    return f"sms:{sid}"


def payment_credit_key(payment_id: str) -> str:
    """Return the key of the credit for a payment."""
    return f"payment:{payment_id}:credit"


def refund_key(refund_id: str) -> str:
    """Return the key of what a refund takes from the wallet."""
    return f"refund:{refund_id}"


def dispute_key(dispute_id: str, withdrawal: int = 1) -> str:
    """Return the key of a dispute's n-th withdrawal (from 1). An appeal can make a second one."""
    return f"dispute:{dispute_id}" if withdrawal == 1 else f"dispute:{dispute_id}:{withdrawal}"


def adjustment_key(adjustment_id: str) -> str:
    """Return the key of what an operator has given or taken by hand."""
    return f"adjustment:{adjustment_id}"


def reversal_key(key: str) -> str:
    """Return the key of the entry that reverses the entry under `key`."""
    return f"{key}:reversal"
