"""The page of a recharge that waits: why the card is not charged."""

from billing.parking.parked import FAULT, Parked
from billing.recharges.attempt import Attempt, arrives_until
from billing.recharges.declines import MOST_DECLINES
from billing.recharges.history import RechargeHistory
from billing.recharges.recharge import HoldReason, RechargeDecision, declined_in_a_row, shortage


def held(history: RechargeHistory, decision: RechargeDecision) -> Parked:
    """Explain to operators why a card is not charged although money is short."""
    short = shortage(history)
    wallet = history.wallet
    return Parked(
        reason=str(decision.reason),
        happened=f"{decision.why} The balance is {wallet.balance}, and calls for"
        f" {history.waiting_minor} minor units wait; a charge would be of {short}."
        f" {_tries_used(history)}",
        org_id=wallet.org_id,
        until=decision.until,
    )


def _tries_used(history: RechargeHistory) -> str:
    declines = declined_in_a_row(history, history.own[-1].card) if history.own else []
    return f"Declines in a row: {len(declines)} of {MOST_DECLINES}."


def asked(attempt: Attempt) -> Parked:
    """Explain to operators that the customer's bank wants to hear from the customer."""
    return Parked(
        reason=HoldReason.REQUIRES_ACTION,
        happened=f"The bank wants the customer to confirm {attempt.amount}. They have a link.",
        org_id=attempt.org_id,
        at_risk=attempt.amount,
        until=attempt.deadline,
    )


def unknown(attempt: Attempt) -> Parked:
    """Explain to operators that nobody knows what became of a charge."""
    return Parked(
        reason=FAULT,
        happened=f"Stripe did not say what became of `{attempt.attempt_id}` ({attempt.amount})."
        " It is looked for; if it is not there, it is sent again under the same key.",
        org_id=attempt.org_id,
        at_risk=attempt.amount,
    )


def unsent(attempt: Attempt) -> Parked:
    """Explain to operators that a charge is not sent, and may have been sent before."""
    return Parked(
        reason=FAULT,
        happened=f"`{attempt.attempt_id}` ({attempt.amount}) is not sent to Stripe: it is not due"
        " any more. It is looked for once more when nothing of it can arrive there any longer, and"
        " then it is given up.",
        org_id=attempt.org_id,
        at_risk=attempt.amount,
        until=arrives_until(attempt),
    )


def refused(attempt: Attempt, why: str) -> Parked:
    """Explain to operators that Stripe does not take the request for a charge."""
    return Parked(
        reason=FAULT,
        happened=f"Stripe refuses the request for `{attempt.attempt_id}` ({attempt.amount}): {why}"
        " No bank was asked, so this is no decline: the fault is on this side.",
        org_id=attempt.org_id,
        at_risk=attempt.amount,
    )
