"""Where an organisation's auto-recharge stands, as the API shows it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.platform_rules import PlatformRules
from billing.recharges.attempt import AttemptState, Card, SavedCard
from billing.recharges.history import Caps, RechargeHistory, RechargeSettings, caps_of
from billing.recharges.recharge import (
    HoldReason,
    RechargeDecision,
    RechargeStep,
    day_of,
    decide,
    declined_in_a_row,
    month_of,
    used,
)

_UNKNOWN_CARD = Card("", "", "")


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
    HoldReason.RECHARGE_ABOVE_CAP: RechargeState.CAPPED,
    HoldReason.DISPUTE_OPEN: RechargeState.FROZEN,
    HoldReason.ORGANIZATION_FROZEN: RechargeState.FROZEN,
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
    people; `suspended_for` is a code: a decline's, or `too_many_declines`. `caps` are those of the
    card, above which a person has to look.
    """

    org_id: str
    settings: RechargeSettings
    state: RechargeState
    caps_used: CapsUsed
    caps: Caps
    until: datetime | None = None
    why: str = ""
    link: str | None = None
    suspended_for: str | None = None
    suspended_since: datetime | None = None
    declines_in_a_row: int = 0


def shown(history: RechargeHistory, now: datetime, rules: PlatformRules) -> RechargeStanding:
    """Return where auto-recharge stands, as far as it is known without asking Stripe."""
    card = history.own[-1].card if history.own else _UNKNOWN_CARD
    decision = decide(history, SavedCard(card), now, rules)
    state, suspension, waiting = _state(history, decision), history.suspension, None
    if state is RechargeState.WAITING_FOR_CUSTOMER:
        waiting = history.under_way
    until = waiting.deadline if waiting else decision.until
    return RechargeStanding(
        org_id=history.wallet.org_id,
        settings=history.settings,
        state=state,
        caps_used=_caps_used(history, now),
        until=None if state is RechargeState.SUSPENDED else until,
        why=decision.why,
        link=waiting.link if waiting else None,
        suspended_for=suspension.code if suspension else None,
        suspended_since=suspension.since if suspension else None,
        declines_in_a_row=len(declined_in_a_row(history, card)),
        caps=caps_of(history, rules),
    )


def _state(history: RechargeHistory, decision: RechargeDecision) -> RechargeState:
    attempt = history.under_way
    if attempt is not None:
        is_asked = attempt.state is AttemptState.REQUIRES_ACTION
        return RechargeState.WAITING_FOR_CUSTOMER if is_asked else RechargeState.CHARGING
    if not history.settings.enabled:
        return RechargeState.OFF
    if history.suspension is not None:
        return RechargeState.SUSPENDED
    if decision.reason is not None:
        return _STATES[decision.reason]
    is_paid = decision.step is RechargeStep.NOTHING and not history.uncredited
    return RechargeState.IDLE if is_paid else RechargeState.CHARGING


def _caps_used(history: RechargeHistory, now: datetime) -> CapsUsed:
    return CapsUsed(
        *used(history.own, day_of(now)[0]),
        *used(history.own, month_of(now)[0]),
    )
