"""What the platform decides for all its wallets: one value, made once from the settings."""

from dataclasses import dataclass
from enum import StrEnum


class UntypedPayments(StrEnum):
    """What becomes of a payment without a type that names an organisation: a setting's values.

    `auto`: it is ignored, unless the first top-up in the ledger is not known to have had a type.
    """

    AUTO = "auto"
    CREDITED = "credited"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class PlatformRules:
    """What the platform decides, each under the name of its setting, with its default.

    Amounts are in minor units of whichever currency a wallet or an alert is in.
    """

    # Where customers may be sent back to after paying: nowhere, until somebody names an origin.
    checkout_return_origins: frozenset[str] = frozenset()
    # Of calls and status callbacks, a second and for each API process.
    own_workflow_rate: float = 20.0
    # More than this needs a second operator.
    adjustment_approval_minor: int = 10_000
    # And so does what comes to more than this, with all that was adjusted alone that day (UTC).
    adjustment_day_approval_minor: int = 1_000_000
    # By so much one person raises debt limits in a day (UTC), of all organisations together.
    debt_limit_approval_minor: int = 100_000
    # Twilio charges for a message that it could not deliver; the platform need not.
    sms_reverse_undelivered: bool = True
    # From this much on, people are told of the money that waits with parked work.
    parked_money_alert_minor: int = 100_000
    # A saved card is charged no more than this without a person, at once and in a day (UTC).
    recharge_charge_cap_minor: int = 50_000
    recharge_day_cap_minor: int = 100_000
    # What a wallet may spend, the debt that is left included, for a call to start.
    start_balance_minor: int = 79
    # The cap of a call whose wallet could pay for more; Vapi's own default.
    longest_call_seconds: int = 600
    # While wallets cannot be read, the gate is open for numbers that passed it the last time.
    gate_fails_open: bool = True
    # Bodies hold what webhooks said about people. Once handled, they only help in a dispute.
    keep_bodies_days: int = 30
    # What becomes of payments that do not say that they are ours, and name an organisation.
    untyped_payments: UntypedPayments = UntypedPayments.AUTO
