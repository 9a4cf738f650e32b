"""Alarms about balances: one is low, or has used most of its debt limit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from billing.alerts.alert import AlarmKind, Alert, AlertLevel
from billing.ledger.wallet import Wallet

# More changes than this in one round have one cause, and share an alert.
MOST_ALERTED_EACH = 10
# A balance is well again when it is this far above its low mark, in percent of the mark.
WELL_ABOVE_PERCENT = 10


class BalanceDepth(IntEnum):
    """How bad it is. It is alerted again only if it gets deeper before the balance is well."""

    OK = 0
    LOW = 1
    USED_80 = 2
    USED_90 = 3
    USED_UP = 4


# How much of the debt limit is used, in percent. A limit of zero is used up when the balance is.
DEBT_MARKS = ((100, BalanceDepth.USED_UP), (90, BalanceDepth.USED_90), (80, BalanceDepth.USED_80))
_LEVELS = {
    BalanceDepth.OK: AlertLevel.INFO,
    BalanceDepth.LOW: AlertLevel.MEDIUM,
    BalanceDepth.USED_80: AlertLevel.MEDIUM,
    BalanceDepth.USED_90: AlertLevel.MEDIUM,
    BalanceDepth.USED_UP: AlertLevel.HIGH,
}
_SAY = {
    BalanceDepth.OK: "well again",
    BalanceDepth.LOW: "low",
    BalanceDepth.USED_80: "at 80 % of the debt limit",
    BalanceDepth.USED_90: "at 90 % of the debt limit",
    BalanceDepth.USED_UP: "at the debt limit",
}
_DO = {
    BalanceDepth.OK: "Nothing.",
    BalanceDepth.LOW: "Ask the customer for a top-up before calls have to wait for money.",
    BalanceDepth.USED_80: "Ask the customer for a top-up: soon calls will wait for money.",
    BalanceDepth.USED_90: "Ask the customer for a top-up: soon calls will wait for money.",
    BalanceDepth.USED_UP: "Calls wait for money now, and settle by themselves when it arrives. Ask"
    " the customer for a top-up, or raise the debt limit.",
}


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A wallet whose balance is worse than the last alert about it said, or well again.

    `alerted` is the depth of that alert.
    """

    wallet: Wallet
    alerted: BalanceDepth

    @property
    def depth(self) -> BalanceDepth:
        """How bad it is now."""
        return depth_of(self.wallet)

    @property
    def alarm(self) -> str:
        """The alarm of its organisation."""
        return AlarmKind.BALANCE.of(self.wallet.org_id)

    @property
    def is_news(self) -> bool:
        """Whether people have to be alerted."""
        return self.depth > self.alerted or (
            self.alerted > BalanceDepth.OK and is_well(self.wallet)
        )


def depth_of(wallet: Wallet) -> BalanceDepth:
    """Return how bad a balance is. A low one that a saved card fills up by itself is not bad."""
    for percent, depth in DEBT_MARKS:
        if -wallet.balance_minor * 100 >= percent * wallet.debt_limit_minor:
            return depth
    fills_up = wallet.recharge_below_minor is not None
    is_low = wallet.balance_minor < wallet.low_balance_minor and not fills_up
    return BalanceDepth.LOW if is_low else BalanceDepth.OK


def is_well(wallet: Wallet) -> bool:
    """Return whether a balance is far enough above its low mark for the alarm to be over."""
    above = wallet.balance_minor - wallet.low_balance_minor
    return above > 0 and above * 100 >= WELL_ABOVE_PERCENT * wallet.low_balance_minor


def balance_alerts(changes: Sequence[BalanceChange], at: datetime) -> list[Alert]:
    """Return an alert for each change; of many, one for each depth.

    An import or a new limit can change a thousand balances at once.
    """
    if len(changes) <= MOST_ALERTED_EACH:
        return [_about(change, at) for change in changes]
    depths = sorted({change.depth for change in changes}, reverse=True)
    return [_together([one for one in changes if one.depth is depth], at) for depth in depths]


def _about(change: BalanceChange, at: datetime) -> Alert:
    wallet, depth = change.wallet, change.depth
    return Alert(
        key=f"{change.alarm}:{depth}:{at.isoformat()}",
        level=_LEVELS[depth],
        title=f"The balance of {wallet.org_id} is {_SAY[depth]}: {wallet.balance}",
        text=_DO[depth],
        org_id=wallet.org_id,
        facts=(
            ("Balance", str(wallet.balance)),
            ("Debt left", str(wallet.debt_left)),
        ),
    )


def _together(changes: Sequence[BalanceChange], at: datetime) -> Alert:
    depth = changes[0].depth
    return Alert(
        key=f"{AlarmKind.BALANCE}:{depth}:{at.isoformat()}",
        level=_LEVELS[depth],
        title=f"The balances of {len(changes)} organisations are {_SAY[depth]}",
        text=_DO[depth],
        facts=tuple((one.wallet.org_id, str(one.wallet.balance)) for one in changes),
    )
