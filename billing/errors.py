"""Refusals: final answers of "no", each with a stable code and an HTTP status."""

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


class LengthUnknown(BillingError):
    """Nobody says how long the call took, or only what cannot be."""

    code = "length_unknown"
    title = "Nobody says how long the call took"


class MissingAtProvider(NotFound):
    """A provider does not know what was asked for. What was made just now it may know in a moment.

    So this one is not final at once: it is asked for a few times, and then ever more slowly.
    """


class CallMissing(MissingAtProvider):
    """Vapi does not know the call."""

    code = "call_missing"
    title = "Vapi does not know the call"


class CallNotEnded(Conflict):
    """Vapi says that the call has not ended, so there is nothing to charge yet."""

    code = "call_not_ended"
    title = "The call has not ended"


class PaymentMissing(MissingAtProvider):
    """Stripe does not know the payment."""

    code = "payment_missing"
    title = "Stripe does not know the payment"


class KeyRefused(BillingError):
    """Stripe does not accept our key, or not for this: it says nothing about what was asked."""

    code = "key_refused"
    status = 503
    title = "Stripe does not accept the API key"


class InvalidWindow(BillingError):
    """The time to be reconciled is empty, too long or not over yet."""

    code = "invalid_window"
    title = "That is no time that can be reconciled"


class ListingStuck(BillingError):
    """A full page of the provider's list has one timestamp, and no next page can be asked for."""

    code = "listing_stuck"
    title = "The provider's list cannot be walked any further"


class SameOperator(BillingError):
    """Who asks for something that takes two people cannot be the second one.

    Two keys are not two people if one was made with the other, or for the occasion.
    """

    code = "same_operator"
    status = 403
    title = "Another operator must approve"


class NeedsAnotherPerson(BillingError):
    """It is more than one person may do alone."""

    code = "needs_another_person"
    status = 403
    title = "That takes two people"


class InvalidExpiry(BillingError):
    """No key can be good until then."""

    code = "invalid_expiry"
    title = "A key cannot be good until then"


class AlreadyDecided(Conflict):
    """The adjustment no longer waits: it was decided another way."""

    code = "already_decided"
    title = "It has been decided otherwise"


class NoSavedCard(BillingError):
    """There is no card to charge automatically. The customer can save one at a checkout."""

    code = "no_saved_card"
    status = 409
    title = "There is no saved card"


class MessageMissing(MissingAtProvider):
    """Twilio does not know the message."""

    code = "message_missing"
    title = "Twilio does not know the message"
