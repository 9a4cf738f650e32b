"""A top-up on a checkout page at Stripe: what may be asked for, and how far it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing.ledger.money import Money

# In minor units of the wallet's currency.
SMALLEST_TOPUP_MINOR = 2_500
LARGEST_TOPUP_MINOR = 500_000

# A session is looked up this long after it should have expired, because clocks differ.
_MARGIN = timedelta(minutes=2)
# A session that is still open then is looked up again this much later.
_OVERDUE = timedelta(minutes=10)
# A session whose payment is under way is looked up this often. That can take a bank days.
_UNDER_WAY = timedelta(days=1)


class CheckoutStatus(StrEnum):
    """Where a session stands. `processing`: it is completed, and the bank has not paid yet."""

    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    EXPIRED = "expired"
    FAILED = "failed"


_OVER = frozenset({CheckoutStatus.PAID, CheckoutStatus.EXPIRED, CheckoutStatus.FAILED})


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """A session at Stripe. `url` is where it is paid: only while `status` is `open`.

    `payment_id` is known once the customer has completed it.
    """

    session_id: str
    url: str | None
    expires_at: datetime
    amount: Money
    status: CheckoutStatus
    payment_id: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status in _OVER


@dataclass(frozen=True, slots=True)
class NewCheckout:
    """A top-up that somebody wants to pay; `save_card` keeps the card for automatic recharges.

    `session` is the one that was opened for it, if its workflow has continued as new since.
    """

    org_id: str
    amount: Money
    success_url: str
    cancel_url: str
    save_card: bool = False
    session: CheckoutSession | None = None


def look_after(session: CheckoutSession, now: datetime) -> timedelta:
    """Return how long to wait before looking at a session of which nothing is heard."""
    if session.status is not CheckoutStatus.OPEN:
        return _UNDER_WAY
    left = session.expires_at + _MARGIN - now
    return left if left > timedelta() else _OVERDUE
