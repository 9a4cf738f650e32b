"""A card payment as Stripe has it now, and which ledger entries it calls for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from billing.ledger import Account, EntryKind, Posting, Transfer, payment_credit_key, wallet_account
from billing.money import Currency, Money
from billing.returns import Dispute, Refund, dispute_entries, refund_entries
from billing.wallet import Wallet

# The values of metadata `type` that callwallet writes on payments of its own.
RECHARGE = "wallet_auto_recharge"
OUR_PAYMENT_TYPES = frozenset({"wallet_topup", RECHARGE})


@dataclass(frozen=True, slots=True)
class Payment:
    """A PaymentIntent, fetched; `received_minor` of `currency` is what the card paid.

    `currency` is Stripe's lower-case code, as it is: it may be one that no wallet has.
    `org_id` comes from the metadata; `session_org_id` is the checkout session's
    `client_reference_id`; `expected_minor` is the amount that the platform asked for, and
    `intended_minor` the intent's own (None: what was received), of which less may be captured.
    `customer_id` is Stripe's customer who paid (None: a guest).
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

    @property
    def owner(self) -> str | None:
        """The organisation that paid."""
        return self.org_id or self.session_org_id

    @property
    def is_captured_in_part(self) -> bool:
        """Whether less was taken than the card was asked for."""
        return self.intended_minor is not None and self.received_minor < self.intended_minor


def received(payment: Payment) -> Money | None:
    """Say what the card paid; None when that is in a currency that no wallet has."""
    if payment.currency not in set(Currency):
        return None
    return Money(payment.received_minor, Currency(payment.currency))


def is_ours(payment: Payment, wallet: Wallet | None) -> bool:
    """Say whether callwallet asked for this payment, as far as Stripe's data can say.

    Its type says so; without any type, naming an organisation that exists does.
    """
    return payment.type in OUR_PAYMENT_TYPES or (payment.type is None and wallet is not None)


def payment_workflow_id(payment_id: str) -> str:
    """Name the workflow of a payment; it is how operators find it, so the domain knows it."""
    return f"payment/{payment_id}"


class Mismatch(StrEnum):
    """What does not fit about a payment that should be ours; a person decides."""

    UNKNOWN_ORGANIZATION = "unknown_organization"
    ORGANIZATION_MISMATCH = "organization_mismatch"
    CUSTOMER_MISMATCH = "customer_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"
    DISPUTE_CURRENCY_MISMATCH = "dispute_currency_mismatch"


def mismatch(
    payment: Payment, wallet: Wallet | None, customer_id: str | None = None
) -> Mismatch | None:
    """Check organisation, customer, currency and amount of a payment of ours.

    `customer_id` is the customer at Stripe that is the organisation; None if it has none yet.
    """
    checks = (
        (Mismatch.ORGANIZATION_MISMATCH, _names_two_organizations(payment)),
        (Mismatch.UNKNOWN_ORGANIZATION, wallet is None),
        (Mismatch.CUSTOMER_MISMATCH, _differ(payment.customer_id, customer_id)),
        (Mismatch.CURRENCY_MISMATCH, wallet is not None and payment.currency != wallet.currency),
        (Mismatch.AMOUNT_MISMATCH, not _is_what_was_asked_for(payment)),
    )
    return next((problem for problem, found in checks if found), None)


def dispute_mismatch(payment: Payment, wallet: Wallet) -> Mismatch | None:
    """Check that what disputes have moved is in the wallet's currency; else it is not posted."""
    moved = {move.currency for dispute in payment.disputes for move in dispute.movements}
    return Mismatch.DISPUTE_CURRENCY_MISMATCH if moved - {wallet.currency} else None


def due_entries(payment: Payment, wallet: Wallet) -> list[Transfer]:
    """Compute the entries that this payment calls for, those that exist already among them.

    A pure function of the payment, in which every entry has a key of its own and none that was
    ever due stops being due. So any order, repetition and gap of events ends in the same ledger,
    also when a refund failed, or a dispute was won, before anybody looked. None is refusable: the
    money has moved. The payment must have passed `mismatch`.
    """
    if payment.status != "succeeded":
        return []
    of_payment = f" of payment {payment.payment_id}"
    returned = (replace(one, cause=one.cause + of_payment) for one in _returned(payment, wallet))
    return [_credit(payment, wallet), *returned]


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
    )


def _is_a_release(refund: Refund, payment: Payment) -> bool:
    """Say whether it stands for what was never captured, so that nobody has paid it.

    Stripe refunds the rest of a payment that is captured in part
    (github.com/solidusio/solidus_stripe/pull/268), and books nothing, for nothing has moved.
    """
    is_unbooked = refund.status == "succeeded" and not refund.is_booked
    return payment.is_captured_in_part and is_unbooked


def _is_what_was_asked_for(payment: Payment) -> bool:
    """Say whether the card was asked for what the platform asked for, and paid no more than that.

    Less is what was captured of it on purpose: Stripe takes all unless it is told otherwise.
    """
    intended = payment.received_minor if payment.intended_minor is None else payment.intended_minor
    return payment.expected_minor == intended and 0 < payment.received_minor <= intended


def _names_two_organizations(payment: Payment) -> bool:
    return _differ(payment.org_id, payment.session_org_id)


def _differ(one: str | None, other: str | None) -> bool:
    return None not in (one, other) and one != other


@dataclass(frozen=True, slots=True)
class Settlement:
    """What looking at a payment came to: entries posted, nothing due, or a mismatch.

    `ignored` marks a payment that callwallet did not ask for; `recharges` an organisation whose
    auto-recharge has to hear of it. After a mismatch nothing was posted,
    but for one of a dispute's currency: then only that dispute was not.
    """

    payment: Payment
    org_id: str | None = None
    postings: tuple[Posting, ...] = ()
    mismatch: Mismatch | None = None
    ignored: bool = False
    recharges: bool = False
