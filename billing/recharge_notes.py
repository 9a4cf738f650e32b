"""What people are told about auto-recharge: on its page, in alerts, and over the API."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.alert import Alert, AlertLevel
from billing.attempt import Attempt, AttemptState, Card, Outcome, SavedCard
from billing.declines import MOST_DECLINES, TOO_MANY_DECLINES, cool_down
from billing.parking import FAULT, Parked
from billing.recharge import (
    Decision,
    HoldReason,
    RechargeSettings,
    Standing,
    Step,
    day_of,
    decide,
    declined_in_a_row,
    month_of,
    shortage,
    used,
)

_NOBODYS = Card("", "", "")


class RechargeState(StrEnum):
    """Where auto-recharge stands, in one word."""

    OFF = "off"
    IDLE = "idle"
    CHARGING = "charging"
    COOLING_DOWN = "cooling_down"
    SUSPENDED = "suspended"
    WAITING_FOR_CUSTOMER = "waiting_for_customer"
    CAPPED = "capped"
    FROZEN = "frozen"


_STATES = {
    HoldReason.CARD_DECLINED: RechargeState.COOLING_DOWN,
    HoldReason.RECHARGE_SUSPENDED: RechargeState.SUSPENDED,
    HoldReason.RECHARGE_CAPPED: RechargeState.CAPPED,
    HoldReason.DISPUTE_OPEN: RechargeState.FROZEN,
}


@dataclass(frozen=True, slots=True)
class CapsUsed:
    """How often, and for how many minor units, the card was charged this day and month (UTC)."""

    today: int
    today_minor: int
    this_month: int
    this_month_minor: int


@dataclass(frozen=True, slots=True)
class RechargeStanding:
    """What was asked for, and where it stands.

    `until` ends a wait, or is the deadline by which the customer has to pay at `link`. `why` is for
    people; `suspended_for` is a code: a decline's, or `too_many_declines`.
    """

    org_id: str
    settings: RechargeSettings
    state: RechargeState
    caps_used: CapsUsed
    until: datetime | None = None
    why: str = ""
    link: str | None = None
    suspended_for: str | None = None
    suspended_since: datetime | None = None
    declines_in_a_row: int = 0


def shown(standing: Standing, now: datetime) -> RechargeStanding:
    """Say where auto-recharge stands, as far as that can be said without asking Stripe."""
    card = standing.own[-1].card if standing.own else _NOBODYS
    decision = decide(standing, SavedCard(card), now)
    state, suspension, waiting = _state(standing, decision), standing.suspension, None
    if state is RechargeState.WAITING_FOR_CUSTOMER:
        waiting = standing.under_way
    until = waiting.deadline if waiting else decision.until
    return RechargeStanding(
        org_id=standing.wallet.org_id,
        settings=standing.settings,
        state=state,
        caps_used=_caps_used(standing, now),
        until=None if state is RechargeState.SUSPENDED else until,
        why=decision.why,
        link=waiting.link if waiting else None,
        suspended_for=suspension.code if suspension else None,
        suspended_since=suspension.since if suspension else None,
        declines_in_a_row=len(declined_in_a_row(standing, card)),
    )


def _state(standing: Standing, decision: Decision) -> RechargeState:
    attempt = standing.under_way
    if attempt is not None:
        is_asked = attempt.state is AttemptState.REQUIRES_ACTION
        return RechargeState.WAITING_FOR_CUSTOMER if is_asked else RechargeState.CHARGING
    if not standing.settings.enabled:
        return RechargeState.OFF
    if standing.suspension is not None:
        return RechargeState.SUSPENDED
    if decision.reason is not None:
        return _STATES[decision.reason]
    is_paid = decision.step is Step.NOTHING and not standing.uncredited
    return RechargeState.IDLE if is_paid else RechargeState.CHARGING


def _caps_used(standing: Standing, now: datetime) -> CapsUsed:
    return CapsUsed(
        *used(standing.own, day_of(now)[0]),
        *used(standing.own, month_of(now)[0]),
    )


def held(standing: Standing, decision: Decision) -> Parked:
    """Explain to operators why a card is not charged although money is short."""
    short = shortage(standing)
    wallet = standing.wallet
    return Parked(
        reason=str(decision.reason),
        happened=f"{decision.why} The balance is {wallet.balance}, and calls for"
        f" {standing.waiting_minor} minor units wait; a charge would be of {short}."
        f" {_tries_used(standing)}",
        org_id=wallet.org_id,
        until=decision.until,
    )


def _tries_used(standing: Standing) -> str:
    declines = declined_in_a_row(standing, standing.own[-1].card) if standing.own else []
    return f"Declines in a row: {len(declines)} of {MOST_DECLINES}."


def asked(attempt: Attempt) -> Parked:
    """Explain to operators that the customer's bank wants to hear from the customer."""
    return Parked(
        reason=HoldReason.REQUIRES_ACTION,
        happened=f"The bank wants the customer to confirm {attempt.amount}. They have a link.",
        org_id=attempt.org_id,
        at_risk=attempt.amount,
        until=attempt.deadline,
    )


def unknown(attempt: Attempt) -> Parked:
    """Explain to operators that nobody knows what became of a charge."""
    return Parked(
        reason=FAULT,
        happened=f"Stripe did not say what became of `{attempt.attempt_id}` ({attempt.amount})."
        " It is looked for; if it is not there, it is sent again under the same key.",
        org_id=attempt.org_id,
        at_risk=attempt.amount,
    )


def suspension_after(standing: Standing, attempt: Attempt, outcome: Outcome) -> str | None:
    """Say for what code a decline suspends the card; None if it is only left alone for a while.

    `standing` has that decline in it.
    """
    if outcome.is_final:
        return outcome.code
    declines = declined_in_a_row(standing, attempt.card)
    return TOO_MANY_DECLINES if len(declines) >= MOST_DECLINES else None


def failure_alert(standing: Standing, attempt: Attempt, suspended_for: str | None) -> Alert:
    """Tell of a first failure: what the bank said, and what happens next."""
    code = attempt.code or "unknown"
    declines = declined_in_a_row(standing, attempt.card)
    if suspended_for is not None:
        what = "The card is not charged any more. Ask the customer for another card or a top-up."
    else:
        again = attempt.created_at + cool_down(max(len(declines), 1))
        what = f"It is tried again at {again:%Y-%m-%d %H:%M} UTC; nothing to do yet."
    level = AlertLevel.HIGH if suspended_for else AlertLevel.MEDIUM
    title = f"An automatic recharge failed: {code}"
    return _alert(f"failed/{attempt.attempt_id}", level, title, attempt, what)


def suspension_alert(attempt: Attempt, suspended_for: str) -> Alert:
    """Tell that nobody tries any more, after failures that were told of."""
    what = "The card is not charged any more. Ask the customer for another card or a top-up."
    title = f"Automatic recharges are suspended: {suspended_for}"
    return _alert(f"suspended/{attempt.attempt_id}", AlertLevel.HIGH, title, attempt, what)


def no_card_alert(org_id: str, now: datetime) -> Alert:
    """Tell that money is short, and that there is no card to charge any more."""
    what = "Stripe has no card of theirs any more. Ask them to top up by checkout, and to save one."
    return Alert(
        key=f"recharge/no-card/{org_id}/{now:%Y-%m-%d}",
        level=AlertLevel.HIGH,
        title="An automatic recharge found no saved card",
        text=f"{org_id}: {what}",
        org_id=org_id,
        facts=(("Reason", str(HoldReason.NO_SAVED_CARD)),),
        workflow_id=recharge_workflow_id(org_id),
    )


def link_alert(attempt: Attempt) -> Alert:
    """Tell that the customer has to confirm a payment, and where the link is."""
    what = (
        f"Send the customer the link in `GET /v1/organizations/{attempt.org_id}/auto-recharge`;"
        f" it is withdrawn at {attempt.deadline:%Y-%m-%d %H:%M} UTC."
    )
    title = "The bank wants the customer to confirm an automatic recharge"
    return _alert(f"link/{attempt.attempt_id}", AlertLevel.MEDIUM, title, attempt, what)


def recovery_alert(attempt: Attempt) -> Alert:
    """Tell that a card pays again after failures that were told of."""
    title = "Automatic recharges work again"
    return _alert(f"works/{attempt.attempt_id}", AlertLevel.INFO, title, attempt, "Nothing to do.")


def _alert(key: str, level: AlertLevel, title: str, attempt: Attempt, what: str) -> Alert:
    return Alert(
        key=f"recharge/{key}",
        level=level,
        title=title,
        text=f"{attempt.org_id}: {what}",
        org_id=attempt.org_id,
        facts=(
            ("Amount", str(attempt.amount)),
            ("Attempt", attempt.attempt_id),
            ("Reason", attempt.code or "-"),
        ),
        workflow_id=recharge_workflow_id(attempt.org_id),
    )


def recharge_workflow_id(org_id: str) -> str:
    """Name the workflow of an organisation's recharges."""
    return f"recharge/{org_id}"
