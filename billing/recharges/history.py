"""What an organisation wants to be recharged by, and all that a decision about it has to know."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.ledger.entry import Entry, EntryKind, wallet_account
from billing.ledger.wallet import Wallet
from billing.platform_rules import PlatformRules
from billing.recharges.attempt import UNDER_WAY, Attempt, AttemptState

# In minor units of the wallet's currency. Stripe takes eight digits (stripe 16.1,
# `PaymentIntentCreateParams.amount`).
SMALLEST_THRESHOLD_MINOR = 100
SMALLEST_CHARGE_MINOR = 1_000
LARGEST_CHARGE_MINOR = 99_999_999
# Above these a person has to look at each charge, whoever the customer is.
LARGEST_CHARGE_CAP_MINOR = 1_000_000
LARGEST_DAY_CAP_MINOR = 2_500_000
DEFAULT_THRESHOLD_MINOR = 500
DEFAULT_CHARGE_MINOR = 5_000
# How far back attempts are read: the caps and the card networks count in months.
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
class Caps:
    """What a card is charged without a person, at once and in a day (UTC), in minor units."""

    charge_minor: int = 0
    day_minor: int = 0


@dataclass(frozen=True, slots=True)
class CardCaps:
    """What an operator has set instead for one organisation (None: what holds by default)."""

    charge_minor: int | None
    day_minor: int | None
    who_and_why: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why, and since when, a card is not charged any more until something changes."""

    code: str
    since: datetime
    fingerprint: str


@dataclass(frozen=True, slots=True)
class RechargeHistory:
    """Everything that a decision needs to know, read in one transaction.

    `waiting_minor` is what the charges come to that wait as `debt_limit`. `attempts` are those of
    the last `HISTORY` and those under way, oldest first, with declines of the same card elsewhere.
    Declines of attempts up to `lifted_number` are forgiven. `returned_minor` is `gap_of_returns`.
    `kept` are caps that the organisation has had from before there were any by default. `set_caps`
    is what an operator has said last about them.
    """

    wallet: Wallet
    settings: RechargeSettings
    waiting_minor: int = 0
    attempts: tuple[Attempt, ...] = ()
    suspension: Suspension | None = None
    lifted_number: int = 0
    is_disputed: bool = False
    is_frozen: bool = False
    returned_minor: int = 0
    kept: Caps = Caps()
    set_caps: CardCaps | None = None

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
        """The attempts that were paid and are not in the ledger yet: money on its way.

        Money that a person has given up before it was there does not come any more.
        """
        paid = (one for one in self.own if one.state is AttemptState.SUCCEEDED)
        return [one for one in paid if not (one.is_credited or one.is_given_up)]


def recharge_below(settings: RechargeSettings) -> int | None:
    """Return the balance below which a recharge is due; None when auto-recharge is off."""
    return settings.threshold_minor if settings.enabled else None


def caps_of(history: RechargeHistory, rules: PlatformRules) -> Caps:
    """Return an organisation's caps: what an operator has set, higher or lower.

    Otherwise they are those by default, or those that it has kept if higher.
    """
    kept, said = history.kept, history.set_caps
    charge_minor, day_minor = (said.charge_minor, said.day_minor) if said else (None, None)
    return Caps(
        max(rules.recharge_charge_cap_minor, kept.charge_minor)
        if charge_minor is None
        else charge_minor,
        max(rules.recharge_day_cap_minor, kept.day_minor) if day_minor is None else day_minor,
    )


_RETURNS = frozenset({EntryKind.REFUND, EntryKind.DISPUTE})
_CLOSES_A_GAP = frozenset(
    {
        EntryKind.TOPUP,
        EntryKind.REFUND_REVERSAL,
        EntryKind.DISPUTE_REVERSAL,
        EntryKind.ADJUSTMENT,
    }
)


def gap_of_returns(
    entries: Iterable[Entry], threshold_minor: int, recharged: Collection[str] = ()
) -> int:
    """Return how far refunds and disputes hold a wallet below its threshold, in minor units.

    `entries` are its last ones, oldest first. The credit of a recharge, whose key is `recharged`,
    closes no such gap, for else one recharge would be the reason for the next one. The customer's
    own money does, and so does a balance that is back at the threshold.
    """
    gap = 0
    for entry in entries:
        after, moved = entry.balance_after.amount_minor, entry.amount.amount_minor
        if after >= threshold_minor:
            gap = 0
        elif entry.kind in _RETURNS:
            gap += min(moved, threshold_minor - after)
        elif entry.kind in _CLOSES_A_GAP and entry.key not in recharged:
            is_credit = entry.credit_account == wallet_account(entry.org_id)
            gap = max(gap - moved, 0) if is_credit else gap
    return gap
