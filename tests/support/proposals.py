"""Adjustments that tests ask for, and the operators' keys that ask for them."""

from billing.adjustments import Direction, Proposal, Who
from billing.ledger.entry import Account
from billing.ledger.money import Currency, Money
from tests.support.factories import unique

ANN, BOB = Who("key-a", "Ann's key"), Who("key-b", "Bob's key")
BIG = 25_000


def proposed(
    org_id: str = "acme", amount_minor: int = BIG, *, needs_approval: bool = True
) -> Proposal:
    """Return a credit in pence that Ann asks for."""
    return Proposal(
        adjustment_id=unique("adj"),
        org_id=org_id,
        direction=Direction.CREDIT,
        amount=Money(amount_minor, Currency.GBP),
        account=Account.ADJUSTMENTS,
        reason="ticket 4711",
        allow_below_limit=False,
        needs_approval=needs_approval,
        requested_by=ANN,
    )
