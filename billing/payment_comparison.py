"""Compare a payment that Stripe has with the ledger, and a credit in the ledger with Stripe."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from billing.ledger import Entry, EntryKind, Transfer, wallet_account
from billing.money import Money
from billing.payment import Payment, due_entries, is_ours, mismatch, received
from billing.reconciliation import Finding, FindingKind, FindingOutcome
from billing.wallet import Wallet

# The word that the types of the events which announce an entry have in common.
_ANNOUNCED_BY = {
    EntryKind.REFUND: "refund",
    EntryKind.REFUND_REVERSAL: "refund",
    EntryKind.DISPUTE: "dispute",
    EntryKind.DISPUTE_REVERSAL: "dispute",
}


def compare_payment(
    payment: Payment,
    wallet: Wallet | None,
    posted: Mapping[str, Entry],
    events: Collection[str],
    customer_id: str | None = None,
) -> Finding | None:
    """Say in what a payment differs from the ledger; None when it does not, or is not ours.

    `posted` are the entries that exist of those it calls for, `events` the types of the events that
    told of it, `customer_id` the organisation's customer at Stripe. One that does not fit is found
    too: it parks where a person sees it.
    """
    if payment.status != "succeeded" or not is_ours(payment, wallet):
        return None
    problem = mismatch(payment, wallet, customer_id)
    if problem is not None or wallet is None:
        kind = FindingKind.UNBILLED if events else FindingKind.MISSING
        return replace(
            _finding(payment, wallet, kind), amount=received(payment), detail=str(problem)
        )
    due = due_entries(payment, wallet)
    lacking = [transfer for transfer in due if transfer.key not in posted]
    if lacking:
        return _lacking(payment, wallet, lacking, events)
    return _drift(payment, wallet, due, posted)


def unfounded(entry: Entry, status: str | None) -> Finding | None:
    """Say whether a credit has no payment to show for it; None when it has.

    `status` is that of the PaymentIntent which the entry names, and None when Stripe has none.
    """
    if status == "succeeded":
        return None
    standing = f"is {status}" if status else "is not known to Stripe"
    return Finding(
        subject=entry.key,
        kind=FindingKind.ORPHANED,
        occurred_at=entry.occurred_at,
        org_id=entry.org_id,
        amount=-entry.amount,
        detail=f"{entry.cause}: {entry.amount} were credited, and the payment {standing}",
        outcome=FindingOutcome.REPORTED,
    )


def _lacking(
    payment: Payment, wallet: Wallet, lacking: Iterable[Transfer], events: Collection[str]
) -> Finding:
    transfers = tuple(lacking)
    heard_of = all(_was_announced(transfer, events) for transfer in transfers)
    amount = Money(sum(_gain_minor(transfer) for transfer in transfers), wallet.currency)
    keys = tuple(transfer.key for transfer in transfers)
    kind = FindingKind.UNBILLED if heard_of else FindingKind.MISSING
    found = _finding(payment, wallet, kind)
    return replace(found, amount=amount, due=keys, detail=f"lacking: {', '.join(keys)}")


def _drift(
    payment: Payment, wallet: Wallet, due: Iterable[Transfer], posted: Mapping[str, Entry]
) -> Finding | None:
    """An entry is never changed: one of another amount is for a person to adjust."""
    others = [one for one in due if posted[one.key].amount != one.amount]
    if not others:
        return None
    differences = [f"{one.key} is {posted[one.key].amount}, not {one.amount}" for one in others]
    more = sum(_gain_minor(one) - _gain_minor(posted[one.key]) for one in others)
    return replace(
        _finding(payment, wallet, FindingKind.DRIFTED),
        amount=Money(more, wallet.currency),
        detail="; ".join(differences),
        outcome=FindingOutcome.REPORTED,
    )


def _was_announced(transfer: Transfer, events: Collection[str]) -> bool:
    word = _ANNOUNCED_BY.get(transfer.kind, "")
    return any(word in event for event in events)


def _gain_minor(moved: Transfer | Entry) -> int:
    is_gain = moved.credit_account == wallet_account(moved.org_id)
    return moved.amount.amount_minor if is_gain else -moved.amount.amount_minor


def _finding(payment: Payment, wallet: Wallet | None, kind: FindingKind) -> Finding:
    return Finding(
        subject=payment.payment_id,
        kind=kind,
        occurred_at=payment.created_at,
        org_id=wallet.org_id if wallet else None,
    )
