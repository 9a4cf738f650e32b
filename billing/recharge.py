"""Auto-recharge: when a wallet's saved card is charged, how much, and when it is left alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from billing.attempt import UNDER_WAY, Attempt, AttemptState, Card, SavedCard
from billing.declines import MOST_TRIES, TRIES_WINDOW, cool_down
from billing.money import Money
from billing.wallet import Wallet

# In minor units of the wallet's currency; Stripe takes eight digits (stripe 16.1,
# `PaymentIntentCreateParams.amount`).
SMALLEST_THRESHOLD_MINOR = 100
SMALLEST_CHARGE_MINOR = 1_000
LARGEST_CHARGE_MINOR = 99_999_999
DEFAULT_THRESHOLD_MINOR = 500
DEFAULT_CHARGE_MINOR = 5_000
# What a person has to end is looked at this often all the same: there may be another card.
LOOK_AGAIN = timedelta(days=1)
# A month of attempts, for the caps, and what card networks count in.
HISTORY = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class RechargeSettings:
    """What an organisation wants: amounts in minor units of its wallet's currency.

    `refill_to_minor` is the balance to come back to, and replaces `amount_minor`. Caps are of days
    and months in UTC; None is no cap. The customer comes back to `return_url` from a page at Stripe
    if the bank wants to hear from them; without it there is no such page.
    """

    enabled: bool = False
    threshold_minor: int = DEFAULT_THRESHOLD_MINOR
    amount_minor: int = DEFAULT_CHARGE_MINOR
    refill_to_minor: int | None = None
    max_per_day: int | None = 10
    max_per_month: int | None = 100
    max_minor_per_day: int | None = None
    max_minor_per_month: int | None = None
    return_url: str | None = None


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why a card is not charged any more until something is different, and since when."""

    code: str
    since: datetime
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Standing:
    """All that a decision is made of, read in one transaction.

    `waiting_minor` is what waits as `debt_limit`. `attempts` are those of `HISTORY` and those under
    way, oldest first, and declines of the same card elsewhere. Declines up to `lifted_number` are
    forgiven.
    """

    wallet: Wallet
    settings: RechargeSettings
    waiting_minor: int = 0
    attempts: tuple[Attempt, ...] = ()
    suspension: Suspension | None = None
    lifted_number: int = 0
    is_disputed: bool = False

    @property
    def own(self) -> list[Attempt]:
        """The organisation's attempts, oldest first."""
        return [one for one in self.attempts if one.org_id == self.wallet.org_id]

    @property
    def under_way(self) -> Attempt | None:
        """The attempt that is not over, if there is one."""
        return next((one for one in self.own if one.state in UNDER_WAY), None)

    @property
    def uncredited(self) -> list[Attempt]:
        """Paid, and not in the ledger yet: money on its way."""
        return [
            one for one in self.own if one.state is AttemptState.SUCCEEDED and not one.is_credited
        ]


class HoldReason(StrEnum):
    """Why a card is not charged although money is short."""

    CARD_DECLINED = "card_declined"
    RECHARGE_SUSPENDED = "recharge_suspended"
    REQUIRES_ACTION = "requires_action"
    RECHARGE_CAPPED = "recharge_capped"
    DISPUTE_OPEN = "dispute_open"
    NO_SAVED_CARD = "no_saved_card"


class Step(StrEnum):
    """What comes next: nothing, an attempt to be finished, a look for a card, a charge, a wait."""

    NOTHING = "nothing"
    FINISH = "finish"
    FIND_CARD = "find_card"
    CHARGE = "charge"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done: `amount` is to be charged, or it is held until a time (None: unknown)."""

    step: Step
    amount: Money | None = None
    reason: HoldReason | None = None
    until: datetime | None = None
    why: str = ""


_NOTHING = Decision(Step.NOTHING)


def recharge_below(settings: RechargeSettings) -> int | None:
    """Say below which balance a recharge is due; None when it is off."""
    return settings.threshold_minor if settings.enabled else None


def shortage(standing: Standing) -> int:
    """Say how much one charge must bring to close the whole gap; 0 when there is none.

    What waits as `debt_limit` counts as spent, and what was paid and not credited yet as there.
    """
    wanted = standing.settings
    on_its_way = sum(one.amount.amount_minor for one in standing.uncredited)
    left = standing.wallet.balance_minor + on_its_way - standing.waiting_minor
    if left >= wanted.threshold_minor:
        return 0
    if wanted.refill_to_minor is not None:
        short = wanted.refill_to_minor - left
    else:
        short = max(wanted.amount_minor, wanted.threshold_minor - left)
    return min(max(short, SMALLEST_CHARGE_MINOR), LARGEST_CHARGE_MINOR)


def decide(standing: Standing, saved: SavedCard | None, now: datetime) -> Decision:
    """Decide what comes next; `saved` is None while nobody has looked for a card.

    An attempt that is under way comes first, whatever the settings say by now.
    """
    if standing.under_way is not None:
        return Decision(Step.FINISH)
    short = shortage(standing) if standing.settings.enabled else 0
    if short == 0:
        return _NOTHING
    if standing.is_disputed:
        return _hold(HoldReason.DISPUTE_OPEN, now + LOOK_AGAIN, "A payment is disputed.")
    if saved is None:
        return Decision(Step.FIND_CARD)
    if saved.card is None:
        return _hold(HoldReason.NO_SAVED_CARD, now + LOOK_AGAIN, "Stripe has no card of theirs.")
    return _about_card(standing, saved.card, now) or _within_caps(standing, short, now)


def _about_card(standing: Standing, card: Card, now: datetime) -> Decision | None:
    """Say why this card is left alone; None when it may be charged."""
    suspension = standing.suspension
    if suspension is not None and suspension.fingerprint == card.fingerprint:
        why = f"Suspended since {suspension.since:%Y-%m-%d %H:%M} UTC for `{suspension.code}`."
        return _hold(HoldReason.RECHARGE_SUSPENDED, now + LOOK_AGAIN, why)
    return _worn_out(standing, card, now) or _cooling_down(standing, card, now)


def _worn_out(standing: Standing, card: Card, now: datetime) -> Decision | None:
    """Hold what card networks punish: too many declines of one card, whoever tried it."""
    tries = [
        one.created_at
        for one in standing.attempts
        if one.state is AttemptState.DECLINED
        and one.card.fingerprint == card.fingerprint
        and one.created_at > now - TRIES_WINDOW
    ]
    if len(tries) < MOST_TRIES:
        return None
    until = sorted(tries)[-MOST_TRIES] + TRIES_WINDOW
    why = f"The card was declined {len(tries)} times within {TRIES_WINDOW.days} days."
    return _hold(HoldReason.CARD_DECLINED, until, why)


def _cooling_down(standing: Standing, card: Card, now: datetime) -> Decision | None:
    declines = declined_in_a_row(standing, card)
    if not declines:
        return None
    last = declines[-1]
    until = last.created_at + cool_down(len(declines))
    if now >= until:
        return None
    why = f"The card was declined {len(declines)} times in a row, last for `{last.code}`."
    return _hold(HoldReason.CARD_DECLINED, until, why)


def declined_in_a_row(standing: Standing, card: Card) -> list[Attempt]:
    """List this card's declines here since it last paid or was forgiven, oldest first."""
    declines: list[Attempt] = []
    for one in standing.own:
        if one.state is AttemptState.SUCCEEDED:
            declines.clear()
        elif (
            one.state is AttemptState.DECLINED
            and one.number > standing.lifted_number
            and one.card.fingerprint == card.fingerprint
        ):
            declines.append(one)
    return declines


def _within_caps(standing: Standing, short: int, now: datetime) -> Decision:
    """Charge what closes the gap, or as much of it as the caps leave, or wait for the next day."""
    wanted, room = standing.settings, short
    for name, window, most, most_minor in (
        ("day", day_of(now), wanted.max_per_day, wanted.max_minor_per_day),
        ("month", month_of(now), wanted.max_per_month, wanted.max_minor_per_month),
    ):
        count, spent = used(standing.own, window[0])
        left = short if most_minor is None else most_minor - spent
        if (most is not None and count >= most) or left < SMALLEST_CHARGE_MINOR:
            why = f"The cap of this {name} is reached: {count} charges of {spent} in all."
            return _hold(HoldReason.RECHARGE_CAPPED, window[1], why)
        room = min(room, left)
    return Decision(Step.CHARGE, Money(room, standing.wallet.currency))


def used(attempts: Iterable[Attempt], since: datetime) -> tuple[int, int]:
    """Count what was charged since a time, and add it up; what may yet be charged included."""
    counted = UNDER_WAY | {AttemptState.SUCCEEDED}
    amounts = [
        one.amount.amount_minor
        for one in attempts
        if one.state in counted and one.created_at >= since
    ]
    return len(amounts), sum(amounts)


def day_of(now: datetime) -> tuple[datetime, datetime]:
    """Bound the day of an instant, in its time zone."""
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return begin, begin + timedelta(days=1)


def month_of(now: datetime) -> tuple[datetime, datetime]:
    """Bound the month of an instant, in its time zone."""
    begin = day_of(now)[0].replace(day=1)
    return begin, (begin + timedelta(days=31)).replace(day=1)


def _hold(reason: HoldReason, until: datetime, why: str) -> Decision:
    return Decision(Step.HOLD, reason=reason, until=until, why=why)
