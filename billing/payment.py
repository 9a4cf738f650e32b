"""A card payment as Stripe has it now, and which ledger entries it calls for."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.ledger import Account, EntryKind, Posting, Transfer, payment_credit_key, wallet_account
from billing.money import Currency, Money
from billing.wallet import Wallet

# The values of metadata `type` that callwallet writes on payments of its own.
OUR_PAYMENT_TYPES = frozenset({"wallet_topup", "wallet_auto_recharge"})


@dataclass(frozen=True, slots=True)
class Payment:
    """A PaymentIntent, fetched; `received_minor` of `currency` is what the card paid.

    `currency` is Stripe's lower-case code, as it is: it may be one that no wallet has.
    `org_id` comes from the metadata; `session_org_id` is the checkout session's
    `client_reference_id`; `expected_minor` is the amount that the platform asked for.
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

    @property
    def owner(self) -> str | None:
        """The organisation that paid."""
        return self.org_id or self.session_org_id


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


class Mismatch(StrEnum):
    """What does not fit about a payment that should be ours; a person decides."""

    UNKNOWN_ORGANIZATION = "unknown_organization"
    ORGANIZATION_MISMATCH = "organization_mismatch"
    CURRENCY_MISMATCH = "currency_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"


def mismatch(payment: Payment, wallet: Wallet | None) -> Mismatch | None:
    """Check organisation, currency and amount of a payment of ours against what was asked for."""
    checks = (
        (Mismatch.ORGANIZATION_MISMATCH, _names_two_organizations(payment)),
        (Mismatch.UNKNOWN_ORGANIZATION, wallet is None),
        (Mismatch.CURRENCY_MISMATCH, wallet is not None and payment.currency != wallet.currency),
        (Mismatch.AMOUNT_MISMATCH, payment.expected_minor != payment.received_minor),
    )
    return next((problem for problem, found in checks if found), None)


def due_entries(payment: Payment, wallet: Wallet) -> list[Transfer]:
    """Compute the entries that this payment calls for, those that exist already among them.

    A pure function of the payment, and every entry has a key of its own, so any order and
    repetition of events ends in the same ledger. The payment must have passed `mismatch`.
    """
    return [_credit(payment, wallet)] if payment.status == "succeeded" else []


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


def _names_two_organizations(payment: Payment) -> bool:
    return None not in (payment.org_id, payment.session_org_id) and (
        payment.org_id != payment.session_org_id
    )


@dataclass(frozen=True, slots=True)
class Settlement:
    """What looking at a payment came to: entries posted, nothing due, or a mismatch.

    `ignored` marks a payment that callwallet did not ask for.
    """

    payment: Payment
    org_id: str | None = None
    postings: tuple[Posting, ...] = ()
    mismatch: Mismatch | None = None
    ignored: bool = False
