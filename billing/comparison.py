"""Compare a call that Vapi lists with what is known of it here; say what came of a finding."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from billing.call import CallState, EndedCall, rate
from billing.ledger import Booked, call_correction_key, call_key
from billing.reconciliation import Finding, FindingKind, FindingOutcome
from billing.tariff import Charge, Tariff
from billing.wallet import Wallet


@dataclass(frozen=True, slots=True)
class KnownCall:
    """What is known here of a call: whether its webhook came, where it stands, what was booked.

    `state` and `billed_seconds` are None for a call that nothing has tried to charge.
    """

    reported: bool = False
    state: CallState | None = None
    billed_seconds: int | None = None
    booked: Booked | None = None


def compare_call(
    call: EndedCall, known: KnownCall, wallet: Wallet | None, tariffs: Iterable[Tariff]
) -> Finding | None:
    """Say in what an ended call differs from the ledger; None when it does not.

    `wallet` is that of who paid, or else of whom the assistant belongs to. What a person has given
    up stays given up.
    """
    if known.state is CallState.DISCARDED:
        return None
    rated = rate(call, wallet, tariffs)
    if known.booked is not None:
        return _drift(call, known, known.booked, rated)
    costs_nothing = isinstance(rated, Charge) and not rated.amount.amount_minor
    if costs_nothing and known.state is CallState.SETTLED:
        return None
    return _unbooked(call, known, wallet, rated)


def judge(finding: Finding, posted: frozenset[str], state: CallState | None) -> FindingOutcome:
    """Say what came of a finding, from the keys in the ledger and where its call stands now.

    A payment for which nothing is due was handed on because it does not fit, and parks.
    """
    if not finding.due and finding.call is None:
        return FindingOutcome.QUARANTINED
    if finding.due and posted.issuperset(finding.due):
        return FindingOutcome.RECOVERED
    match state:
        case CallState.SETTLED if finding.kind is not FindingKind.DRIFTED or not finding.due:
            return FindingOutcome.RECOVERED
        case CallState.UNKNOWN_ASSISTANT:
            return FindingOutcome.QUARANTINED
        case None | CallState.SETTLED:
            return FindingOutcome.OPEN
    return FindingOutcome.WAITING


def _drift(
    call: EndedCall, known: KnownCall, booked: Booked, rated: Charge | CallState
) -> Finding | None:
    """What was charged is compared with what Vapi's own facts call for, if they call for anything.

    Where the money is right and only the seconds differ there is nothing to put right in the
    ledger; what is recorded of the call is brought up to date.
    """
    if not isinstance(rated, Charge):
        return None
    more = rated.amount - booked.net
    if not more.amount_minor and known.billed_seconds in (None, rated.billed_seconds):
        return None
    due = (call_correction_key(call.call_id, booked.entries),) if more.amount_minor else ()
    return Finding(
        subject=call.call_id,
        kind=FindingKind.DRIFTED,
        occurred_at=_moment(call),
        org_id=booked.org_id,
        amount=more,
        due=due,
        detail=f"billed {known.billed_seconds} s for {booked.net}; Vapi says {rated.explain()}",
        call=call,
    )


def _unbooked(
    call: EndedCall, known: KnownCall, wallet: Wallet | None, rated: Charge | CallState
) -> Finding:
    """A finding whose charge, if it costs anything or nobody can tell yet, is due."""
    heard_of = known.reported or known.state is not None
    amount = rated.amount if isinstance(rated, Charge) else None
    costs_nothing = amount is not None and not amount.amount_minor
    return Finding(
        subject=call.call_id,
        kind=FindingKind.UNBILLED if heard_of else FindingKind.MISSING,
        occurred_at=_moment(call),
        org_id=wallet.org_id if wallet else None,
        amount=amount,
        due=() if costs_nothing else (call_key(call.call_id),),
        detail=rated.explain() if isinstance(rated, Charge) else rated.value,
        call=call,
    )


def _moment(call: EndedCall) -> datetime:
    moment = call.ended_at or call.started_at
    if moment is None:
        raise ValueError(f"Vapi's list does not say when call {call.call_id} took place")
    return moment
