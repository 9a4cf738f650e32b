"""A saved card, and an attempt to charge it: written down before the provider hears of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing.declines import AUTHENTICATION_REQUIRED, is_final
from billing.money import Money

# Stripe keeps a key for 24 hours: later, the same key could charge a second time.
KEY_LIFE = timedelta(hours=23)
# How long the customer has to answer the bank; a page at Stripe lives for 24 hours at most.
CUSTOMERS_TIME = timedelta(hours=23)


@dataclass(frozen=True, slots=True)
class Card:
    """A card that an organisation has saved at Stripe.

    `fingerprint` is that of its number: the same card saved twice is the same card.
    """

    customer_id: str
    payment_method_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SavedCard:
    """What was found when somebody looked for a card; there may be none."""

    card: Card | None


class AttemptState(StrEnum):
    """Where an attempt stands; of the first two an organisation has one at most."""

    OPEN = "open"
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    ABANDONED = "abandoned"


UNDER_WAY = frozenset({AttemptState.OPEN, AttemptState.REQUIRES_ACTION})


@dataclass(frozen=True, slots=True)
class Attempt:
    """A charge of a saved card: written down before Stripe hears of it.

    Its id is the idempotency key and in the payment's metadata. While `open` nobody knows what
    Stripe made of it. `code` is a decline's; `link`, `session_id` and `deadline` are of the page on
    which the customer can pay instead. `written_at` is the database's clock, which is Stripe's as
    near as clocks go; `created_at` is the process's.
    """

    attempt_id: str
    org_id: str
    number: int
    amount: Money
    card: Card
    created_at: datetime
    written_at: datetime
    state: AttemptState = AttemptState.OPEN
    payment_id: str | None = None
    code: str | None = None
    link: str | None = None
    session_id: str | None = None
    deadline: datetime | None = None
    is_credited: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Stripe made of an attempt; `open` is that it cannot be said yet.

    `is_final` says that this card will never pay.
    """

    state: AttemptState
    payment_id: str | None = None
    code: str | None = None
    is_final: bool = False


def declined(code: str, payment_id: str | None, advice: str | None = None) -> Outcome:
    """Read a decline; one for which the bank wants to hear from the customer is no end yet.

    `advice` is Stripe's `advice_code`, if the issuer gave any.
    """
    if code == AUTHENTICATION_REQUIRED:
        return Outcome(AttemptState.REQUIRES_ACTION, payment_id, code)
    final = is_final(code) or (advice is not None and is_final(advice))
    return Outcome(AttemptState.DECLINED, payment_id, code, final)


def may_be_sent(attempt: Attempt, now: datetime) -> bool:
    """Say whether its key still keeps Stripe from charging a second time."""
    return now - attempt.created_at < KEY_LIFE


def customers_deadline(attempt: Attempt) -> datetime:
    """Say until when the customer may answer: always the same, for it is in what a key is for."""
    return attempt.created_at + CUSTOMERS_TIME


def given_up(attempt: Attempt) -> Outcome:
    """End an attempt that the customer has not confirmed: the bank will ask every time."""
    code = AUTHENTICATION_REQUIRED
    return Outcome(AttemptState.DECLINED, attempt.payment_id, code, is_final=True)
