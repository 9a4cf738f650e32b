"""Money that an operator gives or takes by hand, and whose word that needs."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from billing.errors import SameOperator
from billing.ledger.entry import (
    Account,
    EntryKind,
    Outcome,
    Posting,
    Transfer,
    adjustment_key,
    wallet_account,
)
from billing.ledger.money import Money
from billing.organizations import ApiKey
from billing.text import SUPPORT

# What nobody has approved by then is not posted any more.
APPROVAL_WAITS = timedelta(days=7)


class Direction(StrEnum):
    """Which way the money goes, as the wallet sees it."""

    CREDIT = "credit"
    DEBIT = "debit"


class AdjustmentState(StrEnum):
    """Where an adjustment stands; only `applied` has moved money, and only `pending` may yet."""

    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"
    REJECTED = "rejected"
    EXPIRED = "expired"


class ApprovalVerdict(StrEnum):
    """What a second operator says."""

    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks or decides: an API key, and whoever says that they hold it.

    Only the key was authenticated. Without one it was a signal in Temporal, which anybody may
    send who can reach it.
    """

    key_id: str | None
    label: str
    name: str | None = None

    def __str__(self) -> str:
        key = f"{self.label} (key {self.key_id})" if self.key_id else self.label
        return f"{self.name}, {key}" if self.name else key


class FourEyesRequest(Protocol):
    """What somebody has asked for, and another has to agree to."""

    @property
    def requested_by(self) -> Who:
        """Who asked."""

    @property
    def requested_at(self) -> datetime:
        """When they did."""


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says about an adjustment that waits."""

    by: Who
    note: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Who approved or rejected an adjustment, why, and when."""

    verdict: ApprovalVerdict
    by: Who
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is asked for: `amount` (positive) between the wallet and `account`."""

    adjustment_id: str
    org_id: str
    direction: Direction
    amount: Money
    account: Account
    reason: str
    allow_below_limit: bool
    needs_approval: bool
    requested_by: Who

    def __str__(self) -> str:
        does = "gives" if self.direction is Direction.CREDIT else "takes"
        below = ", also below the debt limit" if self.allow_below_limit else ""
        return f"{does} {self.amount} ({self.account}{below})"


@dataclass(frozen=True, slots=True)
class Adjustment(Proposal):
    """What was asked for, and what became of it.

    `posting` is there once it was applied or refused; `decision` when somebody had to decide.
    """

    requested_at: datetime
    expires_at: datetime
    position: int
    state: AdjustmentState = AdjustmentState.PENDING
    decision: Decision | None = None
    settled_at: datetime | None = None
    posting: Posting | None = None

    def for_organization(self) -> "Adjustment":
        """Return what an organisation is shown of it: not who asked, nor who decided, nor why.

        What operators call their keys, and what they write to each other, is theirs.
        """
        decision = self.decision and replace(self.decision, by=Who(None, SUPPORT), note="")
        posting = self.posting and self.posting.for_organization()
        return replace(self, requested_by=Who(None, SUPPORT), decision=decision, posting=posting)


def adjustment_id(caller: str, idempotency_key: str) -> str:
    """Name the adjustment that a caller asks for under this Idempotency-Key: always the same."""
    return f"adj_{hashlib.sha256(f'{caller} {idempotency_key}'.encode()).hexdigest()[:32]}"


def workflow_id(adjustment_id: str) -> str:
    """Name the process of an adjustment."""
    return f"adjustment/{adjustment_id}"


def proposal_of(adjustment: Adjustment) -> Proposal:
    """Return what was asked for."""
    return Proposal(**{field.name: getattr(adjustment, field.name) for field in fields(Proposal)})


def asks_the_same(proposal: Proposal, adjustment: Adjustment) -> bool:
    """Whether this is what was asked for before, with the same key or one that replaces it.

    The rule about approval may have changed since.
    """
    before = proposal_of(adjustment)
    asker = replace(before.requested_by, name=proposal.requested_by.name)
    return replace(proposal, needs_approval=before.needs_approval, requested_by=asker) == before


def require_second(proposal: Proposal, approver: Who) -> None:
    """Let another key than the one that asked approve; raise SameOperator."""
    if approver.key_id == proposal.requested_by.key_id:
        raise SameOperator("the key that asked for this adjustment cannot approve it as well")


def require_another_person(
    asked: FourEyesRequest, approver: ApiKey, keys_of_asker: Collection[str]
) -> None:
    """Let a key agree that is not in the hands of who asked; raise SameOperator.

    Who makes or rotates a key sees its secret, so keys that are linked by that are one person's. A
    key that is younger than the request may have been made for it.
    """
    asker = asked.requested_by.key_id
    if asker == approver.key_id:
        raise SameOperator("the key that asked for this cannot approve it as well")
    if approver.key_id in keys_of_asker:
        raise SameOperator(
            "this key and the one that asked are one person's: one of them, or of their makers, was"
            " made or rotated with the other"
        )
    if approver.created_at > asked.requested_at:
        raise SameOperator("this key is younger than the request: use one that was there before")


def ruled(adjustment: Adjustment, decision: Decision | None, now: datetime) -> Adjustment:
    """Return what becomes of an adjustment, short of its entry; `pending` while it has to wait.

    What may be posted is `applied`, until the ledger says otherwise. A decision counts if it came
    in time, however long it then took to act on it.
    """
    if adjustment.state is not AdjustmentState.PENDING:
        return adjustment
    if decision is not None and decision.at >= adjustment.expires_at:
        decision = None
    state = _state(adjustment, decision, now)
    settled_at = None if state is AdjustmentState.PENDING else now
    return replace(adjustment, state=state, decision=decision, settled_at=settled_at)


def _state(adjustment: Adjustment, decision: Decision | None, now: datetime) -> AdjustmentState:
    if decision is not None:
        is_approved = decision.verdict is ApprovalVerdict.APPROVED
        return AdjustmentState.APPLIED if is_approved else AdjustmentState.REJECTED
    if not adjustment.needs_approval:
        return AdjustmentState.APPLIED
    is_over = now >= adjustment.expires_at
    return AdjustmentState.EXPIRED if is_over else AdjustmentState.PENDING


def adjustment_transfer(adjustment: Adjustment, at: datetime) -> Transfer:
    """Make the entry; a debit stops at the debt limit unless it was asked not to."""
    is_credit = adjustment.direction is Direction.CREDIT
    wallet = wallet_account(adjustment.org_id)
    return Transfer(
        key=adjustment_key(adjustment.adjustment_id),
        kind=EntryKind.ADJUSTMENT,
        org_id=adjustment.org_id,
        debit_account=adjustment.account if is_credit else wallet,
        credit_account=wallet if is_credit else adjustment.account,
        amount=adjustment.amount,
        occurred_at=at,
        cause=workflow_id(adjustment.adjustment_id),
        actor=str(replace(adjustment.requested_by, name=None)),
        refusable=not (is_credit or adjustment.allow_below_limit),
        note=adjustment.reason,
    )


def posted(adjustment: Adjustment, posting: Posting) -> Adjustment:
    """Return what became of an adjustment that was approved."""
    is_refused = posting.outcome is Outcome.REFUSED
    state = AdjustmentState.REFUSED if is_refused else AdjustmentState.APPLIED
    return replace(adjustment, state=state, posting=posting)


def asked_again(adjustment: Adjustment, balance: Money) -> Adjustment:
    """Answer one that is asked for once more, of a wallet with this balance: its entry is there.

    What was refused stays refused as it was.
    """
    before = adjustment.posting
    if before is None or before.entry is None:
        return adjustment
    return replace(adjustment, posting=Posting(Outcome.DUPLICATE, before.entry, balance, balance))


def agrees(state: AdjustmentState, verdict: ApprovalVerdict) -> bool:
    """Whether what became of an adjustment is what somebody who says this wants."""
    if verdict is ApprovalVerdict.APPROVED:
        return state in (AdjustmentState.APPLIED, AdjustmentState.REFUSED)
    return state is AdjustmentState.REJECTED
