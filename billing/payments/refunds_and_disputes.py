"""Money that goes back from a payment: refunds, disputes, and the entries they call for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from billing.ledger.entry import (
    Account,
    EntryKind,
    Transfer,
    dispute_key,
    refund_key,
    reversal_key,
    wallet_account,
)
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet

# A dispute with one of these statuses is over. An appeal opens it again.
OVER = frozenset({"won", "lost", "warning_closed", "prevented"})
# Both statuses of a refund are final, and mean that the money is back with the platform:
# docs.stripe.com/refunds#failed-refunds.
UNDONE = frozenset({"failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Refund:
    """A Refund as Stripe has it: `amount_minor`, in the payment's currency, goes back to the payer.

    `status` is Stripe's: pending, requires_action, succeeded, failed or canceled. `is_booked` says
    that a balance transaction exists for it.
    """

    refund_id: str
    amount_minor: int
    created_at: datetime
    status: str | None
    is_booked: bool = True


@dataclass(frozen=True, slots=True)
class Movement:
    """A balance transaction of a dispute: `amount_minor` of `currency`, negative if withdrawn.

    Stripe's fee for the dispute is not in it. The platform pays that.
    """

    transaction_id: str
    amount_minor: int
    currency: str
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class Dispute:
    """A Dispute as Stripe has it: what it has withdrawn from Stripe's balance, and given back.

    No entry follows from its `status`, which does not say where the money is. An inquiry takes
    none; a prevented dispute may take some; a payment that was refunded has none left to take; an
    appeal can take again what was won. The balance transactions do say it ("funds withdrawn and
    reinstated", stripe 16.1, `Dispute.balance_transactions`), and one that was made stays.
    """

    dispute_id: str
    movements: tuple[Movement, ...] = ()
    status: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether money was withdrawn and the dispute is not over. No card is charged meanwhile."""
        is_over = self.status is None or self.status in OVER
        return not is_over and any(one.amount_minor < 0 for one in self.movements)


def refund_entries(refund: Refund, wallet: Wallet) -> list[Transfer]:
    """Return the entry of a refund and, if the refund was undone, its reversal as well.

    A pending refund is taken from the wallet at once, for the money is promised to the payer.
    Stripe does not say when a refund failed, so both entries have the refund's date.
    """
    taken = Transfer(
        key=refund_key(refund.refund_id),
        kind=EntryKind.REFUND,
        org_id=wallet.org_id,
        debit_account=wallet_account(wallet.org_id),
        credit_account=Account.STRIPE,
        amount=Money(refund.amount_minor, wallet.currency),
        occurred_at=refund.created_at,
        cause=f"stripe refund {refund.refund_id}",
        actor="system",
    )
    return [taken, _undone(taken)] if refund.status in UNDONE else [taken]


def dispute_entries(dispute: Dispute, wallet: Wallet) -> Iterator[Transfer]:
    """Yield an entry for each withdrawal and each return of a dispute.

    The n-th withdrawal and the n-th return have keys of their own. Money that moved in another
    currency than the wallet's is left out: see `billing.payments.payment.dispute_mismatch`.
    """
    withdrawals = returns = 0
    for move in _in_order(dispute, wallet.currency):
        if move.amount_minor < 0:
            withdrawals += 1
            yield _withdrawal(dispute, wallet, move, withdrawals)
        else:
            returns += 1
            yield _return(dispute, wallet, move, returns, withdrawals)


def _undone(refund: Transfer) -> Transfer:
    return replace(
        refund,
        key=reversal_key(refund.key),
        kind=EntryKind.REFUND_REVERSAL,
        debit_account=refund.credit_account,
        credit_account=refund.debit_account,
        reverses=refund.key,
    )


def _in_order(dispute: Dispute, currency: Currency) -> list[Movement]:
    """Sort by time; of movements in the same second, withdrawals come before returns."""
    moves = (move for move in dispute.movements if move.currency == currency)
    return sorted(moves, key=lambda one: (one.moved_at, one.amount_minor > 0, one.transaction_id))


def _withdrawal(dispute: Dispute, wallet: Wallet, move: Movement, number: int) -> Transfer:
    return Transfer(
        key=dispute_key(dispute.dispute_id, number),
        kind=EntryKind.DISPUTE,
        org_id=wallet.org_id,
        debit_account=wallet_account(wallet.org_id),
        credit_account=Account.DISPUTES,
        amount=Money(-move.amount_minor, wallet.currency),
        occurred_at=move.moved_at,
        cause=f"stripe dispute {dispute.dispute_id}, {move.transaction_id}",
        actor="system",
    )


def _return(
    dispute: Dispute, wallet: Wallet, move: Movement, number: int, withdrawals: int
) -> Transfer:
    """Return the entry of the n-th return. It reverses the n-th withdrawal, or else the last one.

    It may give back less than was withdrawn.
    """
    withdrawal = min(number, withdrawals)
    return Transfer(
        key=reversal_key(dispute_key(dispute.dispute_id, number)),
        kind=EntryKind.DISPUTE_REVERSAL,
        org_id=wallet.org_id,
        debit_account=Account.DISPUTES,
        credit_account=wallet_account(wallet.org_id),
        amount=Money(move.amount_minor, wallet.currency),
        occurred_at=move.moved_at,
        cause=f"stripe dispute {dispute.dispute_id}, {move.transaction_id}",
        actor="system",
        reverses=dispute_key(dispute.dispute_id, withdrawal) if withdrawal else None,
    )
