"""A wallet, and the one place that decides whether a transfer may touch it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from billing.ledger import Entry, Outcome, Posting, Refusal, Transfer, wallet_account
from billing.money import Currency, Money

DEBT_LIMIT_MINOR = 500
LOW_BALANCE_MINOR = 500


@dataclass(frozen=True, slots=True)
class Wallet:
    """An organisation's balance; it may go below zero down to `-debt_limit_minor`.

    Below `recharge_below_minor` its saved card is charged (None: it is not).
    """

    org_id: str
    currency: Currency
    balance_minor: int
    debt_limit_minor: int = DEBT_LIMIT_MINOR
    low_balance_minor: int = LOW_BALANCE_MINOR
    recharge_below_minor: int | None = None

    @property
    def balance(self) -> Money:
        """The balance as money."""
        return Money(self.balance_minor, self.currency)

    @property
    def debt_left(self) -> Money:
        """How much more debt the wallet may take on; the whole limit while in credit."""
        return Money(
            min(self.balance_minor, 0) + self.debt_limit_minor,
            self.currency,
        )


def is_short(wallet: Wallet | None, posting: Posting | None) -> bool:
    """Say whether a charge leaves the wallet in need of a recharge, or failed for want of one.

    Also if nothing was charged by now: who crossed the threshold may have been cut off since.
    """
    if wallet is None or wallet.recharge_below_minor is None or posting is None:
        return False
    is_below = posting.balance_after.amount_minor < wallet.recharge_below_minor
    return is_below or posting.outcome is Outcome.REFUSED


@dataclass(frozen=True, slots=True)
class Decision:
    """What a transfer would do to a wallet, before anything is stored."""

    transfer: Transfer
    outcome: Outcome
    balance_before: Money
    balance_after: Money
    existing: Entry | None = None
    refusal: Refusal | None = None


def decide(wallet: Wallet, transfer: Transfer, existing: Entry | None = None) -> Decision:
    """Decide one transfer against one wallet: `applied`, `duplicate` or `refused`.

    Raises CurrencyMismatch when the transfer is not in the wallet's currency.
    """
    before = wallet.balance
    if existing is not None:
        return Decision(transfer, Outcome.DUPLICATE, before, before, existing=existing)
    after = before + _effect(transfer)
    refusal = _refusal(wallet, transfer, after)
    if refusal is not None:
        return Decision(transfer, Outcome.REFUSED, before, before, refusal=refusal)
    return Decision(transfer, Outcome.APPLIED, before, after)


def decide_all(
    wallets: Mapping[str, Wallet], transfers: Iterable[Transfer], existing: Mapping[str, Entry]
) -> list[Decision]:
    """Decide transfers one after another, each against the wallet that the last one left.

    The caller gives each key once: one that came twice would be decided twice.
    """
    current = dict(wallets)
    decisions = []
    for transfer in transfers:
        wallet = current[transfer.org_id]
        decision = decide(wallet, transfer, existing.get(transfer.key))
        balance_minor = decision.balance_after.amount_minor
        current[transfer.org_id] = replace(wallet, balance_minor=balance_minor)
        decisions.append(decision)
    return decisions


def _effect(transfer: Transfer) -> Money:
    """Say what the transfer does to the wallet: it loses what it is debited."""
    if transfer.debit_account == wallet_account(transfer.org_id):
        return -transfer.amount
    return transfer.amount


def _refusal(wallet: Wallet, transfer: Transfer, after: Money) -> Refusal | None:
    over_by_minor = -wallet.debt_limit_minor - after.amount_minor
    if not transfer.refusable or over_by_minor <= 0:
        return None
    return Refusal("debt_limit", would_be=after, over_by=Money(over_by_minor, after.currency))
