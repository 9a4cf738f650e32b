"""A call that has ended: what Vapi says about it, and what became of it here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from billing.calls import ended_reason
from billing.calls.correction import correction
from billing.calls.ended_reason import FreeEnding, FreeRule, why_contradicted
from billing.calls.fact_source import FactSource
from billing.calls.length import CAP_TOLERANCE_SECONDS, LONGEST_SECONDS, MOST_AHEAD, StatedLength
from billing.errors import NoTariff
from billing.ledger.entry import (
    Account,
    Booked,
    EntryKind,
    Outcome,
    Posting,
    Transfer,
    call_key,
    wallet_account,
)
from billing.ledger.wallet import Wallet, is_short
from billing.tariffs.tariff import Charge, Tariff, rate_call, tariff_at

# A report gives the duration in two ways. If they differ by more than this, it is unknown.
DURATION_TOLERANCE_SECONDS = 2
_NO_TIME = Decimal(0)
_NOBODY_SAYS = "Neither the report nor Vapi's API says how long the call took."


@dataclass(frozen=True, slots=True)
class EndedCall:
    """What is known about a call that has ended; nothing personal in it.

    `provider_ended` marks facts read from Vapi's API for a call that has ended: there, a missing
    `started_at` means that the call never connected. In a webhook it means nothing. `cap_seconds`
    is how long it was let in for, `stated` how long it took by a person's decision.
    `provider_cost_usd` is what Vapi charges the platform, which no organisation is shown. `sources`
    says who said a fact where it is not who usually does (`source_of`); None: nowhere.
    """

    call_id: str
    assistant_id: str | None = None
    phone_number_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reported_seconds: Decimal | None = None
    ended_reason: str | None = None
    provider_ended: bool = False
    sources: Mapping[str, FactSource] | None = None
    squad_id: str | None = None
    workflow_id: str | None = None
    cap_seconds: int | None = None
    stated: StatedLength | None = None
    provider_cost_usd: Decimal | None = None

    def source_of(self, fact: str) -> FactSource:
        """Return who said the fact of this name."""
        said = self.sources.get(fact) if self.sources else None
        return said or usual_source(fact, provider_ended=self.provider_ended)

    @property
    def has_final_length(self) -> bool:
        """Whether a person has said how long it took, or Vapi itself: by both times, or none."""
        if self.stated is not None:
            return True
        if self.started_at is None:
            return self.provider_ended
        return all(self.source_of(time) is FactSource.API for time in ("started_at", "ended_at"))


_SAID_BY = {"cap_seconds": FactSource.NOTICE, "stated": FactSource.PERSON}


def usual_source(fact: str, *, provider_ended: bool) -> FactSource:
    """Return who says a fact of a call of which nothing else is written down.

    An end that version 0.1 read from Vapi's API may be when Vapi's record of the call changed.
    Since then it is written down where the end is Vapi's own.
    """
    if fact in _SAID_BY:
        return _SAID_BY[fact]
    if not provider_ended:
        return FactSource.REPORT
    return FactSource.RECORD if fact == "ended_at" else FactSource.API


class CallState(StrEnum):
    """Where a call stands. All but the first two wait, as a parked workflow."""

    SETTLED = "settled"
    DISCARDED = "discarded"
    DEBT_LIMIT = "debt_limit"
    UNKNOWN_ASSISTANT = "unknown_assistant"
    UNKNOWN_DURATION = "unknown_duration"
    NO_TARIFF = "no_tariff"

    @property
    def waits(self) -> bool:
        """Whether something has to happen before the call is done with."""
        return self not in (CallState.SETTLED, CallState.DISCARDED)


@dataclass(frozen=True, slots=True)
class CallBill:
    """What became of one call: its state, and its charge and posting if it got that far.

    `is_short` says that the wallet's card should be charged: `billing.ledger.wallet.is_short`.
    `unknown` says why nobody knows how long it took, if that is why it waits.
    """

    call_id: str
    state: CallState
    org_id: str | None = None
    charge: Charge | None = None
    posting: Posting | None = None
    is_short: bool = False
    unknown: str = ""


def call_workflow_id(call_id: str) -> str:
    """Return the id of a call's workflow. Operators find the call by it."""
    return f"call/{call_id}"


def duration_seconds(call: EndedCall) -> Decimal | None:
    """Return how long the call is said to have taken: `ended_at - started_at`, to the microsecond.

    None when that is unknown: a time is missing, the end is only when a record changed or is before
    the start, or Vapi's own (undocumented) `durationSeconds` says something else. A call without a
    start took zero seconds only if Vapi's API says that it has ended.
    """
    if call.started_at is None:
        return _NO_TIME if call.provider_ended else None
    if call.ended_at is None or call.source_of("ended_at") is FactSource.RECORD:
        return None
    elapsed = call.ended_at - call.started_at
    seconds = elapsed.days * 86_400 + elapsed.seconds + Decimal(elapsed.microseconds) / 1_000_000
    if seconds < 0 or _contradicted(call, seconds):
        return None
    return seconds


def free_by(call: EndedCall, now: datetime, rules: Iterable[FreeRule]) -> FreeEnding | None:
    """Return why its end makes a call free; None if it does not.

    A rule counts that held when the call began, or when it ended, or now, if neither is known. A
    person's word about the length counts before.
    """
    reason, began_at = call.ended_reason or "", call.started_at or call.ended_at or now
    if call.stated is not None:
        return None
    if reason in ended_reason.NEVER_CONNECTED:
        ending = FreeEnding.NEVER_CONNECTED
    elif ended_reason.PROVIDER_FAULT in reason:
        ending = FreeEnding.PROVIDER_FAULT
    else:
        return None
    return ending if any(rule.holds(ending, began_at) for rule in rules) else None


def why_unknown(call: EndedCall, now: datetime, rules: Iterable[FreeRule] = ()) -> str | None:
    """Say why nobody knows how long the call took; None if it is known, or costs nothing anyhow.

    What is impossible is not known either. A person may decide against the call's cap and its
    times, and not that it took longer than any call does.
    """
    match free_by(call, now, rules):
        case FreeEnding.NEVER_CONNECTED:
            said = duration_seconds(call) if call.started_at else call.reported_seconds or _NO_TIME
            return _NOBODY_SAYS if said is None else why_contradicted(call.ended_reason, said)
        case FreeEnding.PROVIDER_FAULT:
            return None
    return _why_length_unknown(call, now)


def _why_length_unknown(call: EndedCall, now: datetime) -> str | None:
    seconds = duration_seconds(call) if call.stated is None else call.stated.seconds
    if seconds is None:
        return _NOBODY_SAYS
    said = f"It is said to have taken {seconds.normalize():f} s"
    if not 0 <= seconds <= LONGEST_SECONDS:
        return f"{said}; no call takes more than {LONGEST_SECONDS} s."
    if call.stated is not None or call.started_at is None:
        return None
    if call.cap_seconds is not None and seconds > call.cap_seconds + CAP_TOLERANCE_SECONDS:
        return f"{said}, and was let in for {call.cap_seconds} s."
    if call.ended_at is not None and call.ended_at > now + MOST_AHEAD:
        return f"It is said to have ended on {call.ended_at:%Y-%m-%d %H:%M} UTC, which is to come."
    return None


def rate(
    call: EndedCall,
    wallet: Wallet | None,
    tariffs: Iterable[Tariff],
    now: datetime,
    rules: Iterable[FreeRule] = (),
) -> Charge | CallState:
    """Return what a call costs its wallet, or the state that names what is missing to rate it.

    When it took place is asked before whose it is: that goes by who had the assistant then. The
    tariff is the one in effect when the call started (or ended, if it never connected). Where a
    person has stated how long it took, it started as long before its end. What its end makes free
    waits for nobody: without an owner or a tariff it is settled, and has no charge.
    """
    if why_unknown(call, now, rules):
        return CallState.UNKNOWN_DURATION
    is_free = free_by(call, now, rules) is not None
    moment = _rated_at(call) or (now if is_free else None)
    seconds = _NO_TIME if is_free else duration_seconds(call)
    if call.stated is not None:
        seconds = call.stated.seconds
    if seconds is None or moment is None:
        return CallState.UNKNOWN_DURATION
    if wallet is None:
        return CallState.SETTLED if is_free else CallState.UNKNOWN_ASSISTANT
    try:
        return rate_call(tariff_at(tariffs, wallet.org_id, wallet.currency, moment), seconds)
    except NoTariff:
        return CallState.SETTLED if is_free else CallState.NO_TARIFF


def _rated_at(call: EndedCall) -> datetime | None:
    """Return the moment whose tariff counts; None if nobody says when the call was."""
    if call.stated is None:
        return call.started_at or call.ended_at
    return took_place_at(call) - timedelta(seconds=int(call.stated.seconds))


def call_transfer(
    call: EndedCall, org_id: str, charge: Charge, booked: Booked | None
) -> Transfer | None:
    """Return what is to be posted for a call; None when there is nothing to charge.

    What is booked already stays, unless the length that Vapi's own API says costs another amount. A
    charge goes from the wallet to usage, and is refused below the debt limit.
    """
    if booked is not None and call.has_final_length and booked.net != charge.amount:
        return correction(call.call_id, took_place_at(call), charge, booked)
    if not charge.amount.amount_minor and booked is None:
        return None
    return Transfer(
        key=call_key(call.call_id),
        kind=EntryKind.CALL,
        org_id=org_id,
        debit_account=wallet_account(org_id),
        credit_account=Account.USAGE_CALLS,
        amount=charge.amount,
        occurred_at=took_place_at(call),
        cause=f"vapi call {call.call_id}",
        actor="system",
        refusable=True,
        note=charge.explain(),
    )


def took_place_at(call: EndedCall) -> datetime:
    """Say when a call ended, or else when it started; raise ValueError if neither is known.

    A person who has stated how long it took did so afterwards.
    """
    moment = call.ended_at or call.started_at
    if call.stated is not None:
        return min(moment or call.stated.at, call.stated.at)
    if moment is None:
        raise ValueError(f"nobody says when call {call.call_id} took place")
    return moment


def bill(
    call_id: str,
    wallet: Wallet | None,
    rated: Charge | CallState,
    posting: Posting | None,
    unknown: str | None = None,
) -> CallBill:
    """Return what became of a call that was rated and, if it costs something, posted.

    `wallet` is the payer's as it was before the posting. `unknown` is why its length is, if it is.
    """
    org_id = wallet.org_id if wallet else None
    if isinstance(rated, CallState):
        is_unknown = rated is CallState.UNKNOWN_DURATION
        return CallBill(call_id, rated, org_id, unknown=(unknown or "") if is_unknown else "")
    refused = posting is not None and posting.outcome is Outcome.REFUSED
    state = CallState.DEBT_LIMIT if refused else CallState.SETTLED
    return CallBill(call_id, state, org_id, rated, posting, is_short(wallet, posting))


def _contradicted(call: EndedCall, seconds: Decimal) -> bool:
    if call.has_final_length or call.reported_seconds is None:
        return False
    return abs(call.reported_seconds - seconds) > DURATION_TOLERANCE_SECONDS
