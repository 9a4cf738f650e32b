"""What runs and findings say of what a person has given up, and what organisations read of it."""

import re

from billing.text import GIVEN_UP_BY_SUPPORT

# Before who and why.
RUN_GIVEN_UP = "Given up: "
_PAYMENT = re.compile(r"^discarded \(.*\), so", re.DOTALL)


def of_payment(payment_id: str, who_and_why: str) -> str:
    """Say that a payment was discarded."""
    return f"discarded ({who_and_why}), so nothing of {payment_id} is posted"


def without_who(text: str) -> str:
    """Leave out who has given something up, and why."""
    if text.startswith(RUN_GIVEN_UP):
        return GIVEN_UP_BY_SUPPORT
    return _PAYMENT.sub(f"{GIVEN_UP_BY_SUPPORT}, so", text)
