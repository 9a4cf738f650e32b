"""A saved card, and an attempt to charge it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing.ledger.money import Money
from billing.recharges.declines import AUTHENTICATION_REQUIRED, is_final

# Stripe keeps an idempotency key for 24 hours. Later, the same key could charge a second time.
KEY_LIFE = timedelta(hours=23)
# How long the customer has to answer the bank. A page at Stripe lives for 24 hours at most.
CUSTOMERS_TIME = timedelta(hours=23)
# How long after a charge was sent its request may still arrive at Stripe and make a payment: the
# activity waits a minute for a worker, and has half a minute; the HTTP client gives up after 20
# seconds; Stripe works at a request for 80 seconds at most, which is how long its own libraries
# wait for an answer. The rest is for clocks that differ.
ARRIVES_WITHIN = timedelta(minutes=5)
# A charge that is sent later than this after it was decided is sent late.
PROMPT = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Card:
    """A card that an organisation has saved at Stripe.

    `fingerprint` is that of its number, by which a card that is saved twice is known again.
    """

    customer_id: str
    payment_method_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class SavedCard:
    """What a look for a saved card has found: `card` is None if there is none."""

    card: Card | None


@dataclass(frozen=True, slots=True)
class KeptCard:
    """What is kept of an organisation's card; without `payment_method_id` it has none.

    `saved_at` is when the payment was made that has saved it (None: it was only seen at Stripe).
    Stripe is yet to be told of it unless it `is_default` there.
    """

    org_id: str
    customer_id: str
    payment_method_id: str | None
    fingerprint: str | None
    saved_at: datetime | None
    is_default: bool

    @property
    def wanted(self) -> str | None:
        """The payment method that Stripe is yet to be told of."""
        return None if self.is_default else self.payment_method_id


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
    """A charge of a saved card, recorded before Stripe is asked for it.

    Its id is the idempotency key, and is in the payment's metadata. While it is `open`, nobody
    knows what came of it at Stripe. `code` is that of a decline. `link`, `session_id` and
    `deadline` are those of the page on which the customer can pay instead. `written_at` is by the
    database's clock, which is as near to Stripe's as clocks go; `created_at` is by the workflow's.
    `sent_at` is when Stripe was last asked for it (None: never, or by a worker that kept no note).
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
    is_given_up: bool = False
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ChargeOutcome:
    """What came of an attempt at Stripe; its state is `open` while that is not known.

    `is_final` says that this card will never pay. `is_unsent` says that Stripe was not asked, for
    the charge is not due any more. `refused_for` is why Stripe refused our request: that is no
    decline, for no bank was asked.
    """

    state: AttemptState
    payment_id: str | None = None
    code: str | None = None
    is_final: bool = False
    is_unsent: bool = False
    refused_for: str | None = None


ABANDONED = ChargeOutcome(AttemptState.ABANDONED)
NOT_SENT = ChargeOutcome(AttemptState.OPEN, is_unsent=True)


def declined(code: str, payment_id: str | None, advice: str | None = None) -> ChargeOutcome:
    """Return the outcome of a decline.

    If the bank wants to hear from the customer, the attempt is not over. `advice` is Stripe's
    `advice_code`, if the issuer gave any.
    """
    if code == AUTHENTICATION_REQUIRED:
        return ChargeOutcome(AttemptState.REQUIRES_ACTION, payment_id, code)
    final = is_final(code) or (advice is not None and is_final(advice))
    return ChargeOutcome(AttemptState.DECLINED, payment_id, code, final)


def may_be_sent(attempt: Attempt, now: datetime) -> bool:
    """Return whether the attempt's key still keeps Stripe from charging a second time."""
    return now - attempt.created_at < KEY_LIFE


def is_late(attempt: Attempt, now: datetime) -> bool:
    """Return whether the attempt was sent before, or was decided so long ago that much may differ.

    Whatever was true of the card then is asked again.
    """
    return attempt.sent_at is not None or now - attempt.created_at > PROMPT


def arrives_until(attempt: Attempt) -> datetime:
    """Return until when a request for this attempt may still arrive at Stripe.

    Only what is not there after this moment never was.
    """
    return (attempt.sent_at or attempt.created_at) + ARRIVES_WITHIN


def customers_deadline(attempt: Attempt) -> datetime:
    """Return until when the customer may answer.

    It is part of a request to Stripe, and a key stands for one request: so it never changes.
    """
    return attempt.created_at + CUSTOMERS_TIME


def given_up(attempt: Attempt) -> ChargeOutcome:
    """Return the outcome of an attempt that the customer has not confirmed.

    It is final for the card: the bank would ask the customer every time.
    """
    code = AUTHENTICATION_REQUIRED
    return ChargeOutcome(AttemptState.DECLINED, attempt.payment_id, code, is_final=True)


def withdrawn(outcome: ChargeOutcome) -> ChargeOutcome:
    """Return the outcome of an attempt that nobody asks the customer to confirm any more.

    It is no fault of the card, nor of the customer; unless it was paid in the meantime.
    """
    if outcome.state is not AttemptState.DECLINED:
        return outcome
    return ChargeOutcome(AttemptState.ABANDONED, outcome.payment_id)
