"""Compare a call that Vapi lists with what is known of it here; judge what came of a finding."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from billing.calls.call import (
    CallState,
    EndedCall,
    duration_seconds,
    rate,
    took_place_at,
    why_unknown,
)
from billing.calls.ended_reason import FreeRule
from billing.calls.facts import merge
from billing.ledger.entry import Booked, call_correction_key, call_key
from billing.ledger.wallet import Wallet
from billing.reconciliation.card_comparison import is_about_card
from billing.reconciliation.reconciliation import Finding, FindingKind, FindingOutcome
from billing.tariffs.tariff import Charge, Tariff


@dataclass(frozen=True, slots=True)
class KnownCall:
    """What is known here of a call: whether its report came, where it stands, what was booked.

    `state`, `billed_seconds` and `facts` are None for a call that nothing has tried to charge.
    `is_final` means that a person has decided that what was charged stays.
    """

    reported: bool = False
    state: CallState | None = None
    billed_seconds: int | None = None
    booked: Booked | None = None
    is_final: bool = False
    facts: EndedCall | None = None

    def with_listed(self, call: EndedCall) -> EndedCall:
        """Return what is known of the call, now that the provider lists it."""
        return merge(self.facts, call) if self.facts else call


def compare_call(
    call: EndedCall,
    known: KnownCall,
    wallet: Wallet | None,
    tariffs: Iterable[Tariff],
    now: datetime,
    *,
    rules: Sequence[FreeRule] = (),
) -> Finding | None:
    """Return how an ended call differs from the ledger; None when it does not.

    `call` is all that is known of it by now (`KnownCall.with_listed`). `wallet` is that of whoever
    paid, or else of the assistant's owner. A call that a person has given up stays given up.
    `rules` say which ends make calls free.
    """
    if known.is_final or known.state is CallState.DISCARDED:
        return None
    rated = rate(call, wallet, tariffs, now, rules)
    if known.booked is not None:
        drift = _drift(call, known, known.booked, rated)
        return drift or _impossible(call, known.booked, why_unknown(call, now, rules), now)
    if _costs_nothing(rated) and known.state is CallState.SETTLED:
        return None
    return _unbooked(call, known, wallet, rated)


def judge(finding: Finding, posted: frozenset[str], state: CallState | None) -> FindingOutcome:
    """Return what came of a finding, from the keys in the ledger and the state of its call now.

    A payment for which nothing is due was handed on because it does not fit. It is parked now. What
    differed about a card was mended when it was found.
    """
    if not finding.due and finding.call is None:
        is_mended = is_about_card(finding)
        return FindingOutcome.RECOVERED if is_mended else FindingOutcome.QUARANTINED
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
    """Return how the charge differs from what Vapi's own facts call for; None when it does not.

    If only the seconds differ, no entry is due; only the record of the call is brought up to date.
    A length that is not Vapi's own corrects nothing.
    """
    if not isinstance(rated, Charge) or not call.has_final_length:
        return None
    more = rated.amount - booked.net
    if not more.amount_minor and known.billed_seconds in (None, rated.billed_seconds):
        return None
    due = (call_correction_key(call.call_id, booked.entries),) if more.amount_minor else ()
    return Finding(
        subject=call.call_id,
        kind=FindingKind.DRIFTED,
        occurred_at=took_place_at(call),
        org_id=booked.org_id,
        amount=more,
        due=due,
        detail=f"billed {known.billed_seconds} s for {booked.net}; Vapi says {rated.explain()}",
        call=call,
    )


def _costs_nothing(rated: Charge | CallState) -> bool:
    """Return whether a call is known to cost nothing: by its charge, or whatever it would be."""
    if isinstance(rated, Charge):
        return not rated.amount.amount_minor
    return rated is CallState.SETTLED


def _impossible(
    call: EndedCall, booked: Booked, problem: str | None, now: datetime
) -> Finding | None:
    """Return the finding of a charge that Vapi contradicts by what cannot be; None without one.

    Nothing is corrected by it: a person has to look.
    """
    if problem is None or duration_seconds(call) is None or not call.has_final_length:
        return None
    return Finding(
        subject=call.call_id,
        kind=FindingKind.DRIFTED,
        occurred_at=min(took_place_at(call), now),
        org_id=booked.org_id,
        detail=f"{booked.net} were charged. {problem}",
        call=call,
        outcome=FindingOutcome.REPORTED,
    )


def _unbooked(
    call: EndedCall, known: KnownCall, wallet: Wallet | None, rated: Charge | CallState
) -> Finding:
    """Return the finding of a call that nothing is booked for.

    Its charge is due, unless it is known to cost nothing.
    """
    heard_of = known.reported or known.state is not None
    amount = rated.amount if isinstance(rated, Charge) else None
    return Finding(
        subject=call.call_id,
        kind=FindingKind.UNBILLED if heard_of else FindingKind.MISSING,
        occurred_at=took_place_at(call),
        org_id=wallet.org_id if wallet else None,
        amount=amount,
        due=() if _costs_nothing(rated) else (call_key(call.call_id),),
        detail=rated.explain() if isinstance(rated, Charge) else rated.value,
        call=call,
    )
