"""A payment as Stripe has it now, and the ledger entries that it calls for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from billing.ledger.entry import (
    Account,
    Entry,
    EntryKind,
    Posting,
    Transfer,
    payment_credit_key,
    same_again,
    wallet_account,
)
from billing.ledger.money import LARGEST_MINOR, Currency, Money
from billing.ledger.wallet import Wallet
from billing.payments.refunds_and_disputes import Dispute, Refund, dispute_entries, refund_entries

# The values of metadata `type` that callwallet writes on payments of its own.
RECHARGE = "wallet_auto_recharge"
OUR_PAYMENT_TYPES = frozenset({"wallet_topup", RECHARGE})


@dataclass(frozen=True, slots=True)
class Payment:
    """A PaymentIntent as Stripe has it; `received_minor` of `currency` is what the card paid.

    `currency` is Stripe's lower-case code, which may be one that no wallet has. `org_id` comes from
    the metadata; `session_org_id` is the checkout session's `client_reference_id`. `expected_minor`
    is the amount that the platform asked for. `intended_minor` is the intent's own amount, of which
    less may be captured (None: what was received). `customer_id` is Stripe's customer who paid
    (None: a guest). `attempt_id`, from the metadata, is the attempt to charge a saved card that
    made it. `saved_method_id` is the payment method that it was to save for later charges.
    """

    payment_id: str
    status: str
    currency: str
    received_minor: int
    created_at: datetime
    type: str | None = None
    org_id: str | None = None
    session_org_id: str | None = None
    expected_minor: int | None = None
    intended_minor: int | None = None
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    customer_id: str | None = None
    attempt_id: str | None = None
    saved_method_id: str | None = None

    @property
    def owner(self) -> str | None:
        """The organisation that paid, as Stripe says now. Once it is credited: `owner_of`."""
        return self.org_id or self.session_org_id

    @property
    def is_captured_in_part(self) -> bool:
        """Whether less was taken than the card was asked for."""
        return self.intended_minor is not None and self.received_minor < self.intended_minor


@dataclass(frozen=True, slots=True)
class AskedFor:
    """What was recorded before a saved card was charged: for whom, how much, and by which payer."""

    org_id: str
    amount: Money
    customer_id: str


def as_asked_for(payment: Payment, asked: AskedFor | None) -> Payment:
    """Return a payment of which is believed what was recorded before Stripe made it.

    What Stripe's metadata, customer and session say instead may have been edited since. The money
    itself is as Stripe says: status, currency, and what was received.
    """
    if asked is None:
        return payment
    return replace(
        payment,
        type=RECHARGE,
        org_id=asked.org_id,
        session_org_id=None,
        expected_minor=asked.amount.amount_minor,
        customer_id=asked.customer_id,
    )


def received(payment: Payment) -> Money | None:
    """Return what the card paid; None when no wallet has its currency, or can hold so much."""
    if payment.currency not in set(Currency) or abs(payment.received_minor) > LARGEST_MINOR:
        return None
    return Money(payment.received_minor, Currency(payment.currency))


def owner_of(payment: Payment, credit: Entry | None) -> str | None:
    """Return whose payment it is: what its `credit` in the ledger says, or else what Stripe says.

    Money that goes back follows the money that came, whatever Stripe says by now.
    """
    return credit.org_id if credit is not None else payment.owner


def is_ours(
    payment: Payment,
    wallet: Wallet | None,
    credit: Entry | None = None,
    *,
    untyped_are_ours: bool = False,
) -> bool:
    """Return whether callwallet asked for this payment: it was credited, or its type says so.

    Others sell by the same Stripe account, and to the same customers. Only where
    `untyped_are_ours` a payment without a type is ours if it names an organisation that exists.
    """
    if credit is not None or payment.type in OUR_PAYMENT_TYPES:
        return True
    return untyped_are_ours and payment.type is None and wallet is not None


def payment_workflow_id(payment_id: str) -> str:
    """Return the id of a payment's workflow. Operators find the payment by it."""
    return f"payment/{payment_id}"


class Mismatch(StrEnum):
    """What does not fit about a payment that should be ours. A person decides what to do."""

    UNKNOWN_ORGANIZATION = "unknown_organization"
    ORGANIZATION_MISMATCH = "organization_mismatch"
    CUSTOMER_MISMATCH = "customer_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"
    DISPUTE_CURRENCY_MISMATCH = "dispute_currency_mismatch"


def mismatch(
    payment: Payment,
    wallet: Wallet | None,
    customer_id: str | None = None,
    credit: Entry | None = None,
) -> Mismatch | None:
    """Return the first thing that does not fit about a payment of ours; None if everything fits.

    `customer_id` is the organisation's customer at Stripe; None if it has none yet. Once there is a
    `credit`, only the currency has to fit, for what goes back is an amount in it: all else is
    decided (`billing.payments.difference`).
    """
    if credit is not None:
        is_other = payment.currency != credit.amount.currency
        return Mismatch.CURRENCY_MISMATCH if is_other else None
    checks = (
        (Mismatch.ORGANIZATION_MISMATCH, _names_two_organizations(payment)),
        (Mismatch.UNKNOWN_ORGANIZATION, wallet is None),
        (Mismatch.CUSTOMER_MISMATCH, _differ(payment.customer_id, customer_id)),
        (Mismatch.CURRENCY_MISMATCH, wallet is not None and payment.currency != wallet.currency),
        (Mismatch.AMOUNT_MISMATCH, not _is_what_was_asked_for(payment)),
    )
    return next((problem for problem, found in checks if found), None)


def dispute_mismatch(payment: Payment, wallet: Wallet) -> Mismatch | None:
    """Return a mismatch if a dispute moved money in another currency, which is not posted."""
    moved = {move.currency for dispute in payment.disputes for move in dispute.movements}
    return Mismatch.DISPUTE_CURRENCY_MISMATCH if moved - {wallet.currency} else None


def due_entries(payment: Payment, wallet: Wallet, credit: Entry | None = None) -> list[Transfer]:
    """Return the entries that this payment calls for, including those that exist already.

    A pure function of the payment and of its `credit` in the ledger, if it has one. Every entry has
    a key of its own, and none that was ever due stops being due. So events end in the same ledger
    in any order, repeated or with gaps, even if a refund failed or a dispute was won before anybody
    looked. None of the entries is refusable, for the money has moved. The payment must have passed
    `mismatch`.

    The `wallet` is the credit's, if there is one. What was credited is then no question any more,
    whatever Stripe says of amount and status: the credit stays, and all that went back is due.
    """
    if credit is None and payment.status != "succeeded":
        return []
    came = _credit(payment, wallet) if credit is None else same_again(credit)
    of_payment = f" of payment {payment.payment_id}"
    returned = (replace(one, cause=one.cause + of_payment) for one in _returned(payment, wallet))
    return [came, *returned]


def _returned(payment: Payment, wallet: Wallet) -> Iterator[Transfer]:
    for refund in sorted(payment.refunds, key=lambda one: (one.created_at, one.refund_id)):
        if not _is_a_release(refund, payment):
            yield from refund_entries(refund, wallet)
    for dispute in sorted(payment.disputes, key=lambda one: one.dispute_id):
        yield from dispute_entries(dispute, wallet)


def _credit(payment: Payment, wallet: Wallet) -> Transfer:
    return Transfer(
        key=payment_credit_key(payment.payment_id),
        kind=EntryKind.TOPUP,
        org_id=wallet.org_id,
        debit_account=Account.STRIPE,
        credit_account=wallet_account(wallet.org_id),
        amount=Money(payment.received_minor, wallet.currency),
        occurred_at=payment.created_at,
        cause=f"stripe payment {payment.payment_id}",
        actor="system",
        # Why it was taken for ours. `store.payments.payments.untyped_are_ours` reads that.
        note=payment.type or "",
    )


def _is_a_release(refund: Refund, payment: Payment) -> bool:
    """Return whether a refund only releases what was never captured, and so was never paid.

    Stripe refunds the rest of a payment that is captured in part
    (github.com/solidusio/solidus_stripe/pull/268). It books nothing, for nothing has moved.
    """
    is_unbooked = refund.status == "succeeded" and not refund.is_booked
    return payment.is_captured_in_part and is_unbooked


def _is_what_was_asked_for(payment: Payment) -> bool:
    """Return whether the card was asked for the platform's amount, and paid no more than that.

    If it paid less, somebody captured less on purpose: by default Stripe captures everything. More
    than anybody can pay is a mistake.
    """
    intended = payment.received_minor if payment.intended_minor is None else payment.intended_minor
    most = min(intended, LARGEST_MINOR)
    return payment.expected_minor == intended and 0 < payment.received_minor <= most


def _names_two_organizations(payment: Payment) -> bool:
    return _differ(payment.org_id, payment.session_org_id)


def _differ(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of looking at a payment: entries were posted, nothing was due, or a mismatch.

    `ignored` marks a payment that callwallet did not ask for; its `org_id` is the organisation of
    ours that it names nevertheless. `recharges` says that the
    organisation's auto-recharge is on, and has to hear of it. After a mismatch nothing was posted,
    with one exception: a dispute's currency keeps back only what the dispute moved in it.
    `given_up` marks one that a person had discarded before it was credited: it never is. `alerted`
    says that an alert about it was stored. `credit` is what the ledger had credited for it before.
    `saves_card` says that Stripe is yet to be told of the card that it has saved.
    """

    payment: Payment
    org_id: str | None = None
    postings: tuple[Posting, ...] = ()
    mismatch: Mismatch | None = None
    ignored: bool = False
    recharges: bool = False
    given_up: bool = False
    alerted: bool = False
    credit: Entry | None = None
    saves_card: bool = False

    @property
    def amount(self) -> Money | None:
        """What was credited, or else what the card paid."""
        return self.credit.amount if self.credit is not None else received(self.payment)
