"""The gate before a call: may a wallet start one now, and how long may it last."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from billing.errors import NoTariff
from billing.ledger.money import Money
from billing.platform_rules import PlatformRules
from billing.tariffs.tariff import Tariff, longest_call, tariff_at

# Vapi takes a `maxDurationSeconds` in these bounds, and 600 where nobody says anything.
# Source: Vapi's "Call timeout settings".
SHORTEST_CAP_SECONDS = 10
LONGEST_CAP_SECONDS = 43_200


class NoCall(StrEnum):
    """Why no call may start."""

    FROZEN = "frozen"
    CHARGES_WAITING = "charges_waiting"
    BALANCE_TOO_LOW = "balance_too_low"
    NO_TARIFF = "no_tariff"


@dataclass(frozen=True, slots=True)
class Freeze:
    """An operator's word that a wallet starts no calls; `frozen_by` is the key that said it."""

    org_id: str
    reason: str
    frozen_by: str
    frozen_at: datetime


@dataclass(frozen=True, slots=True)
class GateStanding:
    """What the gate knows of a wallet, all of it read in one instant, `at`."""

    org_id: str
    balance: Money
    debt_limit_minor: int
    at: datetime
    tariffs: Sequence[Tariff]
    charges_waiting: bool = False
    frozen_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether a wallet may start a call, and the longest that it may last, in whole seconds.

    `spendable` is the balance and the debt that is left; `start_balance` is what it must at least
    be. `max_duration_seconds` is there when the call is allowed, `reason` when it is not.
    """

    org_id: str
    allowed: bool
    spendable: Money
    start_balance: Money
    reason: NoCall | None = None
    frozen_reason: str | None = None
    max_duration_seconds: int | None = None


def decide(standing: GateStanding, rules: PlatformRules) -> NoCall | int:
    """Decide whether a call may start: return the seconds that it may last, or why it may not.

    A freeze, which takes a person to lift, goes before reasons of money. A wallet that cannot pay
    the shortest call that Vapi can be asked for has too little, whatever the start balance.
    """
    spendable = _spendable(standing)
    if standing.frozen_reason is not None:
        return NoCall.FROZEN
    if standing.charges_waiting:
        return NoCall.CHARGES_WAITING
    if spendable.amount_minor < rules.start_balance_minor:
        return NoCall.BALANCE_TOO_LOW
    try:
        tariff = tariff_at(standing.tariffs, standing.org_id, spendable.currency, standing.at)
    except NoTariff:
        return NoCall.NO_TARIFF
    seconds = longest_call(tariff, spendable, rules.longest_call_seconds)
    return seconds if seconds >= SHORTEST_CAP_SECONDS else NoCall.BALANCE_TOO_LOW


def allowance(standing: GateStanding, rules: PlatformRules) -> Allowance:
    """Return what is decided, and the figures that decide it."""
    decided = decide(standing, rules)
    return Allowance(
        org_id=standing.org_id,
        allowed=isinstance(decided, int),
        spendable=_spendable(standing),
        start_balance=Money(rules.start_balance_minor, standing.balance.currency),
        reason=decided if isinstance(decided, NoCall) else None,
        frozen_reason=standing.frozen_reason,
        max_duration_seconds=decided if isinstance(decided, int) else None,
    )


def _spendable(standing: GateStanding) -> Money:
    balance = standing.balance
    return Money(balance.amount_minor + standing.debt_limit_minor, balance.currency)
