"""What a call or a message would cost, and whether the wallet could pay it now."""

from dataclasses import dataclass
from datetime import datetime

from billing.ledger.entry import Account, EntryKind, Outcome, Refusal, Transfer, wallet_account
from billing.ledger.money import Money
from billing.ledger.wallet import Wallet, decide
from billing.tariffs.sms_tariff import MessageCharge
from billing.tariffs.tariff import Charge


@dataclass(frozen=True, slots=True)
class Quote:
    """A charge that nobody has made: its price at a time, and the arithmetic of it.

    `is_payable` says whether the wallet has enough for it now, its debt limit included; `refusal`
    what is missing. What waits already, and would go first, is not looked at.
    """

    org_id: str
    at: datetime
    amount: Money
    tariff_id: str
    explanation: str
    balance: Money
    is_payable: bool
    refusal: Refusal | None = None


def quote(wallet: Wallet, charge: Charge | MessageCharge, at: datetime) -> Quote:
    """Return what a charge at a time comes to, for a wallet as it is now."""
    is_call = isinstance(charge, Charge)
    asked = Transfer(
        key="quote",
        kind=EntryKind.CALL if is_call else EntryKind.SMS,
        org_id=wallet.org_id,
        debit_account=wallet_account(wallet.org_id),
        credit_account=Account.USAGE_CALLS if is_call else Account.USAGE_SMS,
        amount=charge.amount,
        occurred_at=at,
        cause="a quote",
        actor="system",
        refusable=charge.amount.amount_minor > 0,
    )
    decision = decide(wallet, asked)
    return Quote(
        org_id=wallet.org_id,
        at=at,
        amount=charge.amount,
        tariff_id=charge.tariff_id if isinstance(charge, Charge) else charge.sms_tariff_id,
        explanation=charge.explain() if isinstance(charge, Charge) else charge.note,
        balance=wallet.balance,
        is_payable=decision.outcome is Outcome.APPLIED,
        refusal=decision.refusal,
    )
