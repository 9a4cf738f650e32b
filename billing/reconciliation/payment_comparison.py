"""Compare a payment that Stripe has with the ledger, and a credit in the ledger with Stripe."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from billing.ledger.entry import Entry, EntryKind, Transfer, payment_credit_key, wallet_account
from billing.ledger.money import Money
from billing.ledger.wallet import Wallet
from billing.payments.payment import Payment, due_entries, is_ours, mismatch, received
from billing.reconciliation import given_up
from billing.reconciliation.reconciliation import Finding, FindingKind, FindingOutcome

# The types of all events that announce an entry of this kind have this word in them.
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
    *,
    untyped_are_ours: bool = False,
) -> Finding | None:
    """Return how a payment differs from the ledger; None when it does not, or is not ours.

    `posted` are the entries that exist of those it calls for, its credit among them. `wallet` and
    `customer_id`, the customer at Stripe, are those of the organisation that was credited, or else
    of the one that Stripe names. `events` are the types of the events that came about it. A payment
    that does not fit is a finding too: it parks, and a person sees it.
    """
    credit = posted.get(payment_credit_key(payment.payment_id))
    is_made = credit is not None or payment.status == "succeeded"
    if not is_made or not is_ours(payment, wallet, credit, untyped_are_ours=untyped_are_ours):
        return None
    problem = mismatch(payment, wallet, customer_id, credit)
    if problem is not None or wallet is None:
        kind = FindingKind.UNBILLED if events else FindingKind.MISSING
        return replace(
            _finding(payment, wallet, kind), amount=received(payment), detail=str(problem)
        )
    due = due_entries(payment, wallet, credit)
    lacking = [transfer for transfer in due if transfer.key not in posted]
    if lacking:
        return _lacking(payment, wallet, lacking, events)
    return _drift(payment, wallet, [_as_paid(due[0], payment), *due[1:]], posted)


def ignored(payment: Payment, org_id: str) -> Finding:
    """Return what is shown of a payment that names somebody of ours, and is no top-up."""
    return Finding(
        subject=payment.payment_id,
        kind=FindingKind.UNBILLED,
        occurred_at=payment.created_at,
        org_id=org_id,
        detail=f"ignored: it names {org_id} or their customer, and its type is"
        f" {payment.type or 'not given'}; {payment.received_minor} minor units of"
        f" {payment.currency.upper()} were paid",
        outcome=FindingOutcome.REPORTED,
    )


def is_only_shown(finding: Finding) -> bool:
    """Return whether a finding is of a payment that is deliberately not in the ledger."""
    is_reported = finding.outcome is FindingOutcome.REPORTED
    return is_reported and finding.kind is FindingKind.UNBILLED


def left_alone(payment: Payment, found: Finding | None, note: str) -> Finding | None:
    """Return what is shown of a payment that was discarded before it was credited.

    `found` is how it differs from the ledger. Nobody puts that right: it is only reported.
    """
    if found is None:
        return None
    return replace(
        found,
        kind=FindingKind.UNBILLED,
        due=(),
        detail=given_up.of_payment(payment.payment_id, note),
        outcome=FindingOutcome.REPORTED,
    )


def frozen_otherwise(
    payment: Payment, credit: Entry | None, known: Mapping[str, bool]
) -> Finding | None:
    """Return the finding of a dispute that is open at Stripe and not here, or here and not there.

    `known` says which disputes of the payment are open here: they freeze recharges. No entry is
    lacking; to look at the payment again puts it right.
    """
    differ = [one for one in payment.disputes if one.is_open != known.get(one.dispute_id, False)]
    if credit is None or not differ:
        return None
    said = ", ".join(f"{one.dispute_id} is {one.status}" for one in differ)
    return Finding(
        subject=payment.payment_id,
        kind=FindingKind.DRIFTED,
        occurred_at=payment.created_at,
        org_id=credit.org_id,
        due=(credit.key,),
        detail=f"{said} at Stripe, and {'not ' * differ[0].is_open}open here",
    )


def unfounded(entry: Entry, status: str | None) -> Finding | None:
    """Return the finding of a credit whose payment has not succeeded; None when it has.

    `status` is that of the PaymentIntent that the entry names, None when Stripe has none.
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


def _as_paid(credit: Transfer, payment: Payment) -> Transfer:
    """Return the credit as it would be for what the card has paid by now."""
    return replace(credit, amount=received(payment) or credit.amount)


def _drift(
    payment: Payment, wallet: Wallet, due: Iterable[Transfer], posted: Mapping[str, Entry]
) -> Finding | None:
    """Return the finding of entries with another amount or owner than is due; None without any.

    An entry is never changed, so a person has to put it right by an adjustment.
    """
    others = [one for one in due if _standing(posted[one.key]) != _standing(one)]
    if not others:
        return None
    differences = [_difference(one, posted[one.key]) for one in others]
    more = sum(_gain_minor(one) - _gained_minor(wallet, posted[one.key]) for one in others)
    return replace(
        _finding(payment, wallet, FindingKind.DRIFTED),
        amount=Money(more, wallet.currency),
        detail="; ".join(differences),
        outcome=FindingOutcome.REPORTED,
    )


def _standing(moved: Transfer | Entry) -> tuple[str, Money]:
    return moved.org_id, moved.amount


def _difference(due: Transfer, posted: Entry) -> str:
    if posted.org_id != due.org_id:
        return f"{due.key} is of {posted.org_id}, not of {due.org_id}"
    return f"{due.key} is {posted.amount}, not {due.amount}"


def _gained_minor(wallet: Wallet, posted: Entry) -> int:
    """Return what a wallet has of an entry: nothing, if the entry is another wallet's."""
    return _gain_minor(posted) if posted.org_id == wallet.org_id else 0


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
