"""What a declined charge means: this card is never charged again, or later and ever more slowly.

Codes: docs.stripe.com/declines/codes, and docs.stripe.com/billing/revenue-recovery/smart-retries
for those that Stripe itself does not retry. Numbers: Stripe recommends 8 tries in 2 weeks (the same
page), and Visa forbids more than 15 retries in 30 days
(support.stripe.com/questions/payment-blocked-due-to-excessive-retries).
"""

from datetime import timedelta

AUTHENTICATION_REQUIRED = "authentication_required"
TOO_MANY_DECLINES = "too_many_declines"
# What `advice_code` says when the issuer does not want to see the card again.
DO_NOT_TRY_AGAIN = "do_not_try_again"

FINAL = frozenset(
    {
        DO_NOT_TRY_AGAIN,
        "card_not_supported",
        "currency_not_supported",
        "expired_card",
        "fraudulent",
        "highest_risk_level",
        "incorrect_number",
        "invalid_account",
        "invalid_expiry_month",
        "invalid_expiry_year",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "not_permitted",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "security_violation",
        "stolen_card",
        "stop_payment_order",
        "testmode_decline",
        "transaction_not_allowed",
    }
)

FIRST_COOL_DOWN = timedelta(hours=1)
# After so many soft declines in a row a person has to do something. The last of them comes 5.3 days
# after the first.
MOST_DECLINES = 8
# An issuer never sees a card more often than this, even if somebody lifts its suspension.
MOST_TRIES = 15
TRIES_WINDOW = timedelta(days=30)


def is_final(code: str) -> bool:
    """Return whether a card that was declined with this code will never pay."""
    return code in FINAL


def cool_down(declines: int) -> timedelta:
    """Return how long to leave a card alone after so many declines in a row: 1 h, 2 h, 4 h, …

    Never longer than the month in which tries are counted.
    """
    return min(FIRST_COOL_DOWN * (1 << min(declines - 1, 16)), TRIES_WINDOW)
