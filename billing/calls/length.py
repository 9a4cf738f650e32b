"""How long a call can have taken: what is beyond these bounds moves no money by itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from billing.calls.gate import LONGEST_CAP_SECONDS

# Vapi ends every call by then. Source: Vapi's "Call timeout settings".
LONGEST_SECONDS = LONGEST_CAP_SECONDS
# A call that was given a cap ends at it; this much is for hanging up, and for clocks that differ.
CAP_TOLERANCE_SECONDS = 60
# A time that is later than this after now is a wrong one.
MOST_AHEAD = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class StatedLength:
    """How long a call took, as a person has decided it: who, why and when."""

    seconds: Decimal
    who_and_why: str
    at: datetime


def is_possible(seconds: Decimal) -> bool:
    """Return whether a call can take so long."""
    return 0 <= seconds <= LONGEST_SECONDS
