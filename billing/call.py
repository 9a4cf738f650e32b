"""A finished call: what the provider reported, and what became of it here."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from billing.errors import NoTariff
from billing.ledger import (
    NO_POSTINGS,
    Account,
    Booked,
    EntryKind,
    Outcome,
    Posting,
    Tally,
    Transfer,
    call_correction_key,
    call_key,
    wallet_account,
)
from billing.tariff import Charge, Tariff, rate_call, tariff_at
from billing.wallet import Wallet, is_short

# A report whose two statements of the duration differ by more than this is not believed.
DURATION_TOLERANCE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class EndedCall:
    """What Vapi says about a call that has ended; nothing personal in it.

    `provider_ended` marks facts read from Vapi's API for a call whose status is `ended`: there, a
    missing `started_at` means that the call never connected. In a webhook it means nothing.
    """

    call_id: str
    assistant_id: str | None = None
    phone_number_id: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    reported_seconds: Decimal | None = None
    ended_reason: str | None = None
    provider_ended: bool = False


class CallState(StrEnum):
    """Where a call stands. All but the first two wait, as a parked workflow."""

    SETTLED = "settled"
    DISCARDED = "discarded"
    DEBT_LIMIT = "debt_limit"
    UNKNOWN_ASSISTANT = "unknown_assistant"
    UNKNOWN_DURATION = "unknown_duration"
    NO_TARIFF = "no_tariff"


@dataclass(frozen=True, slots=True)
class CallBill:
    """What became of one call: its state, and the charge and the posting where it came that far.

    `is_short` says that the wallet's card should be charged: see `billing.wallet.is_short`.
    """

    call_id: str
    state: CallState
    org_id: str | None = None
    charge: Charge | None = None
    posting: Posting | None = None
    is_short: bool = False


def call_workflow_id(call_id: str) -> str:
    """Name the workflow of a call; it is how operators find it, so the domain knows it."""
    return f"call/{call_id}"


def duration_seconds(call: EndedCall) -> Decimal | None:
    """Say how long the call took: `ended_at - started_at`, exact to the microsecond.

    None when that is unknown: a time is missing, they run backwards, or Vapi's own (undocumented)
    `durationSeconds` says something else. Zero only when Vapi's API says that the call ended and
    never started.
    """
    if call.started_at is None or call.ended_at is None:
        return Decimal(0) if call.provider_ended and call.started_at is None else None
    elapsed = call.ended_at - call.started_at
    seconds = elapsed.days * 86_400 + elapsed.seconds + Decimal(elapsed.microseconds) / 1_000_000
    if seconds < 0 or _contradicted(call, seconds):
        return None
    return seconds


def rate(call: EndedCall, wallet: Wallet | None, tariffs: Iterable[Tariff]) -> Charge | CallState:
    """Rate a call for the wallet it belongs to, or say what is missing to do so.

    The tariff is the one in effect when the call started (or ended, if it never connected).
    """
    if wallet is None:
        return CallState.UNKNOWN_ASSISTANT
    seconds = duration_seconds(call)
    moment = call.started_at or call.ended_at
    if seconds is None or moment is None:
        return CallState.UNKNOWN_DURATION
    try:
        return rate_call(tariff_at(tariffs, wallet.org_id, wallet.currency, moment), seconds)
    except NoTariff:
        return CallState.NO_TARIFF


def call_transfer(
    call: EndedCall, org_id: str, charge: Charge, booked: Booked | None
) -> Transfer | None:
    """Draw up what is to be posted for a call; None when there is nothing to charge.

    What is booked already stands, unless Vapi's API itself says that the call costs something else.
    """
    if booked is not None and call.provider_ended and booked.net != charge.amount:
        return _correction(call, org_id, charge, booked)
    return _charge(call, org_id, charge) if charge.amount.amount_minor or booked else None


def _charge(call: EndedCall, org_id: str, charge: Charge) -> Transfer:
    """From the wallet to usage, down to the debt limit."""
    return Transfer(
        key=call_key(call.call_id),
        kind=EntryKind.CALL,
        org_id=org_id,
        debit_account=wallet_account(org_id),
        credit_account=Account.USAGE_CALLS,
        amount=charge.amount,
        occurred_at=_ended_at(call),
        cause=f"vapi call {call.call_id}",
        actor="system",
        refusable=True,
        note=charge.explain(),
    )


def _correction(call: EndedCall, org_id: str, charge: Charge, booked: Booked) -> Transfer:
    """The difference: more can be refused at the debt limit, less is given back."""
    more = charge.amount - booked.net
    wallet, usage = wallet_account(org_id), Account.USAGE_CALLS
    is_charge = more.amount_minor > 0
    return Transfer(
        key=call_correction_key(call.call_id, booked.entries),
        kind=EntryKind.CORRECTION,
        org_id=org_id,
        debit_account=wallet if is_charge else usage,
        credit_account=usage if is_charge else wallet,
        amount=more if is_charge else -more,
        occurred_at=_ended_at(call),
        cause=f"vapi call {call.call_id}",
        actor="system",
        refusable=is_charge,
        reverses=call_key(call.call_id),
        note=f"{charge.explain()}; {booked.net} had been charged",
    )


def _ended_at(call: EndedCall) -> datetime:
    moment = call.ended_at or call.started_at
    if moment is None:
        raise ValueError(f"call {call.call_id} was rated without knowing when it took place")
    return moment


def bill(
    call_id: str, wallet: Wallet | None, rated: Charge | CallState, posting: Posting | None
) -> CallBill:
    """Say what became of a call that was rated and, if it costs something, posted.

    `wallet` is the payer's as it was before.
    """
    org_id = wallet.org_id if wallet else None
    if isinstance(rated, CallState):
        return CallBill(call_id, rated, org_id)
    refused = posting is not None and posting.outcome is Outcome.REFUSED
    state = CallState.DEBT_LIMIT if refused else CallState.SETTLED
    return CallBill(call_id, state, org_id, rated, posting, is_short(wallet, posting))


def _contradicted(call: EndedCall, seconds: Decimal) -> bool:
    if call.provider_ended or call.reported_seconds is None:
        return False
    return abs(call.reported_seconds - seconds) > DURATION_TOLERANCE_SECONDS


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call as callwallet knows it: the facts, where it stands, what it cost, and who settled it.

    `workflow_id` names the workflow that saw it last: `call/{id}`, or `inbox/drain` in a flood.
    """

    position: int
    call: EndedCall
    state: CallState
    org_id: str | None
    charge: Charge | None
    workflow_id: str
    note: str
    first_seen_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DiscardedCall:
    """A person's decision to give a charge up: who, and why."""

    call: EndedCall
    note: str


@dataclass(frozen=True, slots=True)
class Collection:
    """What waits for an organisation.

    Calls that are `untold`, and workflows that are, have been charged and wait to hear it.
    `so_far` is what came of it before this run.
    """

    org_id: str
    untold: tuple[str, ...] = ()
    untold_workflows: tuple[str, ...] = ()
    so_far: "CollectionResult | None" = None


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """What came of a collection: how many workflows were told, and what the ledger answered."""

    told: int = 0
    postings: Tally = NO_POSTINGS

    def __add__(self, other: "CollectionResult") -> "CollectionResult":
        return CollectionResult(self.told + other.told, self.postings + other.postings)


@dataclass(frozen=True, slots=True)
class Collected:
    """What waited and waits no more, or for another reason; `more` may still be collected.

    `sids` are messages. `postings` counts what the ledger answered.
    """

    call_ids: tuple[str, ...]
    more: bool
    is_short: bool = False
    sids: tuple[str, ...] = ()
    postings: Tally = NO_POSTINGS
