"""Compare the saved card and the customer that are kept here with those that Stripe has."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.recharges.attempt import Card, KeptCard
from billing.recharges.recharge import recharge_workflow_id
from billing.reconciliation.reconciliation import Finding, FindingKind, FindingOutcome

# The beginning of the subject of each finding about a card: the recharge that would charge it.
ABOUT_A_CARD = recharge_workflow_id("")


@dataclass(frozen=True, slots=True)
class Recharged:
    """An organisation that is recharged: its customer at Stripe and its card, as they are kept."""

    org_id: str
    customer_id: str | None = None
    kept: KeptCard | None = None


class CustomerState(StrEnum):
    """What Stripe says of a customer. Of one that is `unread` it has said nothing, for now."""

    THERE = "there"
    DELETED = "deleted"
    UNKNOWN = "unknown"
    UNREAD = "unread"


@dataclass(frozen=True, slots=True)
class CardAtStripe:
    """A customer as Stripe has it, and the card of theirs that would be charged next.

    `problem` is why there is no more to say of one that is not there.
    """

    state: CustomerState
    card: Card | None = None
    problem: str = ""


def compare_card(ours: Recharged, theirs: CardAtStripe, now: datetime) -> Finding | None:
    """Return how the card that is kept differs from Stripe's; None when it does not.

    What can be mended is `open`: the recharge has to look again. What only the customer or an
    operator can mend is `reported`.
    """
    if (problem := _for_a_person(ours, theirs)) is not None:
        return _finding(ours, now, problem, FindingOutcome.REPORTED)
    kept, card = ours.kept, theirs.card
    if kept is None or card is None:
        return None
    if kept.wanted is not None:
        detail = f"Stripe was not told yet that {kept.wanted}, which they saved, is to be charged"
    elif kept.payment_method_id == card.payment_method_id:
        return None
    elif kept.payment_method_id is None:
        detail = f"they had no card, and have {card.payment_method_id} by now"
    else:
        detail = f"{kept.payment_method_id} would be charged here, {card.payment_method_id} is now"
        detail += " the default, or the only one left"
    return _finding(ours, now, detail, FindingOutcome.OPEN)


def is_about_card(finding: Finding) -> bool:
    """Return whether a finding is about a card or customer, and no payment or call."""
    return finding.subject.startswith(ABOUT_A_CARD)


def _for_a_person(ours: Recharged, theirs: CardAtStripe) -> str | None:
    who = ours.customer_id
    if who is None:
        return "no customer of theirs is kept here, so there is no card to charge"
    match theirs.state:
        case CustomerState.DELETED:
            return (
                f"{who} was deleted at Stripe, with every card; it is forgotten here, and the next"
                " checkout makes another, at which they can save a card"
            )
        case CustomerState.UNKNOWN:
            return f"Stripe does not know {who}: {theirs.problem}"
        case CustomerState.UNREAD:
            return f"{who} could not be compared: {theirs.problem}"
    was = ours.kept.payment_method_id if ours.kept else None
    lost = f" any more; it was {was}" if was else ""
    return f"Stripe has no card of {who}{lost}" if theirs.card is None else None


def _finding(ours: Recharged, now: datetime, detail: str, outcome: FindingOutcome) -> Finding:
    return Finding(
        subject=recharge_workflow_id(ours.org_id),
        kind=FindingKind.DRIFTED,
        occurred_at=now,
        org_id=ours.org_id,
        detail=detail,
        outcome=outcome,
    )
