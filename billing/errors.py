"""Refusals: what callwallet answers "no" to, for good, with a stable code and an HTTP status."""

from typing import ClassVar


class BillingError(Exception):
    """A final refusal. Trying again with the same input gives the same answer."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 422
    title: ClassVar[str] = "The request was refused"


class NotFound(BillingError):
    """Nothing is known under this id."""

    code = "not_found"
    status = 404
    title = "Nothing is known under this id"


class Conflict(BillingError):
    """The id is taken by something else; what exists was not changed."""

    code = "conflict"
    status = 409
    title = "Something else has this id"


class CurrencyMismatch(BillingError):
    """Two amounts in different currencies cannot be added; convert them by a tariff first."""

    code = "currency_mismatch"
    title = "The currencies differ"


class NoTariff(BillingError):
    """No tariff was in effect for this organisation at that time."""

    code = "no_tariff"
    title = "No tariff was in effect"


class ChangesThePast(BillingError):
    """Calls or messages of that time may have been charged already, by another tariff."""

    code = "changes_the_past"
    title = "That would change what is charged already"


class CallMissing(NotFound):
    """Vapi does not know the call."""

    code = "call_missing"
    title = "Vapi does not know the call"


class CallNotEnded(Conflict):
    """Vapi says that the call has not ended, so there is nothing to charge yet."""

    code = "call_not_ended"
    title = "The call has not ended"


class PaymentMissing(NotFound):
    """Stripe does not know the payment."""

    code = "payment_missing"
    title = "Stripe does not know the payment"


class InvalidWindow(BillingError):
    """The time to be reconciled is empty, too long or not over yet."""

    code = "invalid_window"
    title = "That is no time that can be reconciled"


class ListingStuck(BillingError):
    """A full page of the provider's list is of one instant, and there is no way past it."""

    code = "listing_stuck"
    title = "The provider's list cannot be walked any further"


class SameOperator(BillingError):
    """Whoever asks for an adjustment cannot approve it: four eyes see more than two."""

    code = "same_operator"
    status = 403
    title = "Another operator must approve"


class AlreadyDecided(Conflict):
    """The adjustment waits no more, and what became of it is something else."""

    code = "already_decided"
    title = "It has been decided otherwise"


class NoSavedCard(BillingError):
    """There is no card to charge automatically: the customer saves one at a checkout."""

    code = "no_saved_card"
    status = 409
    title = "There is no saved card"


class MessageMissing(NotFound):
    """Twilio does not know the message."""

    code = "message_missing"
    title = "Twilio does not know the message"
