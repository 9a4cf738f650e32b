"""A wallet, and the one place that decides whether a transfer may touch it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from billing.ledger.entry import Entry, Outcome, Posting, Refusal, Transfer, wallet_account
from billing.ledger.money import Currency, Money

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
    def spendable_minor(self) -> int:
        """The largest charge that the wallet can pay, in minor units; negative if it can pay none.

        A charge of nothing is never refused.
        """
        return self.balance_minor + self.debt_limit_minor

    @property
    def debt_left(self) -> Money:
        """How much more debt the wallet may take on: the whole limit while it is in credit."""
        return Money(
            min(self.balance_minor, 0) + self.debt_limit_minor,
            self.currency,
        )


def is_short(wallet: Wallet | None, posting: Posting | None) -> bool:
    """Return whether the wallet needs a recharge after a charge: it is low, or the charge refused.

    A duplicate counts too. The process that made the charge may have been cut off before it could
    ask for the recharge.
    """
    if wallet is None or wallet.recharge_below_minor is None or posting is None:
        return False
    is_below = posting.balance_after.amount_minor < wallet.recharge_below_minor
    return is_below or posting.outcome is Outcome.REFUSED


@dataclass(frozen=True, slots=True)
class TransferDecision:
    """What a transfer would do to a wallet, before anything is stored."""

    transfer: Transfer
    outcome: Outcome
    balance_before: Money
    balance_after: Money
    existing: Entry | None = None
    refusal: Refusal | None = None


def decide(wallet: Wallet, transfer: Transfer, existing: Entry | None = None) -> TransferDecision:
    """Decide one transfer against one wallet: `applied`, `duplicate` or `refused`.

    Raise CurrencyMismatch if the transfer is not in the wallet's currency.
    """
    before = wallet.balance
    if existing is not None:
        return TransferDecision(transfer, Outcome.DUPLICATE, before, before, existing=existing)
    after = before + _effect(transfer)
    refusal = _refusal(wallet, transfer, after)
    if refusal is not None:
        return TransferDecision(transfer, Outcome.REFUSED, before, before, refusal=refusal)
    return TransferDecision(transfer, Outcome.APPLIED, before, after)


def decide_all(
    wallets: Mapping[str, Wallet], transfers: Iterable[Transfer], existing: Mapping[str, Entry]
) -> list[TransferDecision]:
    """Decide transfers one after another, each against the wallet as the one before left it.

    Each key may be given only once, or the same transfer is applied twice.
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
    """Return what the transfer does to the wallet, which loses what it is debited."""
    if transfer.debit_account == wallet_account(transfer.org_id):
        return -transfer.amount
    return transfer.amount


def _refusal(wallet: Wallet, transfer: Transfer, after: Money) -> Refusal | None:
    over_by_minor = -wallet.debt_limit_minor - after.amount_minor
    if not transfer.refusable or over_by_minor <= 0:
        return None
    return Refusal("debt_limit", would_be=after, over_by=Money(over_by_minor, after.currency))
