"""Auto-recharge: when a wallet's saved card is charged, how much, and when it is left alone."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from billing.ledger.money import Money
from billing.platform_rules import PlatformRules
from billing.recharges.attempt import (
    UNDER_WAY,
    Attempt,
    AttemptState,
    Card,
    ChargeOutcome,
    SavedCard,
)
from billing.recharges.declines import (
    MOST_DECLINES,
    MOST_TRIES,
    TOO_MANY_DECLINES,
    TRIES_WINDOW,
    cool_down,
)
from billing.recharges.history import (
    LARGEST_CHARGE_MINOR,
    SMALLEST_CHARGE_MINOR,
    Caps,
    RechargeHistory,
    caps_of,
)

# A wait that a person has to end is looked at this often anyway: there may be another card.
LOOK_AGAIN = timedelta(days=1)


class HoldReason(StrEnum):
    """Why a card is not charged although money is short."""

    CARD_DECLINED = "card_declined"
    RECHARGE_SUSPENDED = "recharge_suspended"
    REQUIRES_ACTION = "requires_action"
    RECHARGE_CAPPED = "recharge_capped"
    RECHARGE_ABOVE_CAP = "recharge_above_cap"
    DISPUTE_OPEN = "dispute_open"
    ORGANIZATION_FROZEN = "organization_frozen"
    NO_SAVED_CARD = "no_saved_card"


class RechargeStep(StrEnum):
    """What comes next: nothing, an attempt to be finished, a look for a card, a charge, a wait."""

    NOTHING = "nothing"
    FINISH = "finish"
    FIND_CARD = "find_card"
    CHARGE = "charge"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class RechargeDecision:
    """What is to be done: charge `amount`, or hold the card until a time (None: unknown).

    A hold with an `amount` is one that a person can end by approving it.
    """

    step: RechargeStep
    amount: Money | None = None
    reason: HoldReason | None = None
    until: datetime | None = None
    why: str = ""


_NOTHING = RechargeDecision(RechargeStep.NOTHING)


def shortage(history: RechargeHistory) -> int:
    """Return what one charge must bring to close the whole gap, in minor units; 0 if there is none.

    What waits as `debt_limit` counts as spent. What was paid and is not credited yet counts as in
    the wallet, and so does what refunds and disputes have taken: they start no recharge, and the
    gap that they have left is not charged.
    """
    wanted = history.settings
    on_its_way = sum(one.amount.amount_minor for one in history.uncredited)
    left = history.wallet.balance_minor + history.returned_minor + on_its_way
    left -= history.waiting_minor
    if left >= wanted.threshold_minor:
        return 0
    if wanted.refill_to_minor is not None:
        short = wanted.refill_to_minor - left
    else:
        short = max(wanted.amount_minor, wanted.threshold_minor - left)
    return min(max(short, SMALLEST_CHARGE_MINOR), LARGEST_CHARGE_MINOR)


def decide(
    history: RechargeHistory,
    saved: SavedCard | None,
    now: datetime,
    rules: PlatformRules,
    *,
    approved_minor: int = 0,
) -> RechargeDecision:
    """Decide what comes next; `saved` is None while nobody has looked for a card.

    A person has approved a charge of up to `approved_minor`, whatever the card's caps.
    """
    decision = _wanted(history, saved, now)
    if decision.step is not RechargeStep.CHARGE or decision.amount is None:
        return decision
    if decision.amount.amount_minor <= approved_minor:
        return decision
    return _above_caps(history, decision.amount, now, caps_of(history, rules)) or decision


def _wanted(history: RechargeHistory, saved: SavedCard | None, now: datetime) -> RechargeDecision:
    """Decide what comes next, as far as the organisation's own settings say.

    An attempt that is under way is finished first, whatever the settings say by now.
    """
    if history.under_way is not None:
        return RechargeDecision(RechargeStep.FINISH)
    short = shortage(history) if history.settings.enabled else 0
    if short == 0:
        return _NOTHING
    if (held := _held_whatever_the_card(history, now)) is not None:
        return held
    if saved is None:
        return RechargeDecision(RechargeStep.FIND_CARD)
    if saved.card is None:
        return _hold(HoldReason.NO_SAVED_CARD, now + LOOK_AGAIN, "Stripe has no card of theirs.")
    return _about_card(history, saved.card, now) or _within_caps(history, short, now)


def _held_whatever_the_card(history: RechargeHistory, now: datetime) -> RechargeDecision | None:
    if history.is_frozen:
        why = "An operator has stopped their calls."
        return _hold(HoldReason.ORGANIZATION_FROZEN, now + LOOK_AGAIN, why)
    if history.is_disputed:
        return _hold(HoldReason.DISPUTE_OPEN, now + LOOK_AGAIN, "A payment is disputed.")
    return None


def is_still_due(
    history: RechargeHistory, attempt: Attempt, saved: SavedCard, now: datetime
) -> bool:
    """Return whether an attempt would be decided now as it was: this card, and no less money.

    A charge is decided when it is sent, and what was true when it was recorded may be long ago. The
    caps by default were asked then; nothing that counts against them can have been charged since.
    """
    others = tuple(one for one in history.attempts if one.attempt_id != attempt.attempt_id)
    decision = _wanted(replace(history, attempts=others), saved, now)
    if decision.step is not RechargeStep.CHARGE or decision.amount is None:
        return False
    return saved.card == attempt.card and (
        decision.amount.amount_minor >= attempt.amount.amount_minor
    )


def _about_card(history: RechargeHistory, card: Card, now: datetime) -> RechargeDecision | None:
    """Return why this card is left alone; None when it may be charged."""
    suspension = history.suspension
    if suspension is not None and suspension.fingerprint == card.fingerprint:
        why = f"Suspended since {suspension.since:%Y-%m-%d %H:%M} UTC for `{suspension.code}`."
        return _hold(HoldReason.RECHARGE_SUSPENDED, now + LOOK_AGAIN, why)
    return _worn_out(history, card, now) or _cooling_down(history, card, now)


def _worn_out(history: RechargeHistory, card: Card, now: datetime) -> RechargeDecision | None:
    """Hold a card with too many declines, whichever organisation tried it.

    Card networks punish platforms for that.
    """
    tries = [
        one.created_at
        for one in history.attempts
        if one.state is AttemptState.DECLINED
        and one.card.fingerprint == card.fingerprint
        and one.created_at > now - TRIES_WINDOW
    ]
    if len(tries) < MOST_TRIES:
        return None
    until = sorted(tries)[-MOST_TRIES] + TRIES_WINDOW
    why = f"The card was declined {len(tries)} times within {TRIES_WINDOW.days} days."
    return _hold(HoldReason.CARD_DECLINED, until, why)


def _cooling_down(history: RechargeHistory, card: Card, now: datetime) -> RechargeDecision | None:
    declines = declined_in_a_row(history, card)
    if not declines:
        return None
    last = declines[-1]
    until = last.created_at + cool_down(len(declines))
    if now >= until:
        return None
    why = f"The card was declined {len(declines)} times in a row, last for `{last.code}`."
    return _hold(HoldReason.CARD_DECLINED, until, why)


def declined_in_a_row(history: RechargeHistory, card: Card) -> list[Attempt]:
    """List this card's declines here since it last paid or was forgiven, oldest first."""
    declines: list[Attempt] = []
    for one in history.own:
        if one.state is AttemptState.SUCCEEDED:
            declines.clear()
        elif (
            one.state is AttemptState.DECLINED
            and one.number > history.lifted_number
            and one.card.fingerprint == card.fingerprint
        ):
            declines.append(one)
    return declines


def _within_caps(history: RechargeHistory, short: int, now: datetime) -> RechargeDecision:
    """Charge what closes the gap, or as much as the caps leave, or hold until a cap is over."""
    wanted, room = history.settings, short
    for name, window, most, most_minor in (
        ("day", day_of(now), wanted.max_per_day, wanted.max_minor_per_day),
        ("month", month_of(now), wanted.max_per_month, wanted.max_minor_per_month),
    ):
        count, spent = used(history.own, window[0])
        left = short if most_minor is None else most_minor - spent
        if (most is not None and count >= most) or left < SMALLEST_CHARGE_MINOR:
            why = f"The cap of this {name} is reached: {count} charges of {spent} in all."
            return _hold(HoldReason.RECHARGE_CAPPED, window[1], why)
        room = min(room, left)
    return RechargeDecision(RechargeStep.CHARGE, Money(room, history.wallet.currency))


def _above_caps(
    history: RechargeHistory, amount: Money, now: datetime, caps: Caps
) -> RechargeDecision | None:
    """Return why a charge waits for a person; None if it is within the caps of a card."""
    begin, end = day_of(now)
    _, spent = used(history.own, begin)
    if amount.amount_minor > caps.charge_minor:
        until, why = now + LOOK_AGAIN, f"at once: {caps.charge_minor} minor units"
    elif spent + amount.amount_minor > caps.day_minor:
        until, why = end, f"a day: {caps.day_minor} minor units, of which {spent} are used"
    else:
        return None
    why = f"A charge of {amount} is above what a card is charged without a person {why}."
    return RechargeDecision(
        RechargeStep.HOLD, amount, HoldReason.RECHARGE_ABOVE_CAP, until=until, why=why
    )


def used(attempts: Iterable[Attempt], since: datetime) -> tuple[int, int]:
    """Return how many charges there were since a time, and their sum in minor units.

    Charges that are under way count, for they may still succeed.
    """
    counted = UNDER_WAY | {AttemptState.SUCCEEDED}
    amounts = [
        one.amount.amount_minor
        for one in attempts
        if one.state in counted and one.created_at >= since
    ]
    return len(amounts), sum(amounts)


def day_of(now: datetime) -> tuple[datetime, datetime]:
    """Return when the day of an instant begins and ends, in its time zone."""
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return begin, begin + timedelta(days=1)


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Return when the month of an instant begins and ends, in its time zone."""
    begin = day_of(now)[0].replace(day=1)
    return begin, (begin + timedelta(days=31)).replace(day=1)


def _hold(reason: HoldReason, until: datetime, why: str) -> RechargeDecision:
    return RechargeDecision(RechargeStep.HOLD, reason=reason, until=until, why=why)


def suspension_after(
    history: RechargeHistory, attempt: Attempt, outcome: ChargeOutcome
) -> str | None:
    """Return the code for which a decline suspends the card; None if it only has to cool down.

    `history` must have that decline in it.
    """
    if outcome.is_final:
        return outcome.code
    declines = declined_in_a_row(history, attempt.card)
    return TOO_MANY_DECLINES if len(declines) >= MOST_DECLINES else None


def recharge_workflow_id(org_id: str) -> str:
    """Return the id of the workflow of an organisation's recharges."""
    return f"recharge/{org_id}"
