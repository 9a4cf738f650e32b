"""Cards: Stripe's test payment methods, and what each does when it is charged.

Names and decline codes are those of docs.stripe.com/testing.
"""

from dataclasses import dataclass

from devstack.providers.storage import JsonObject, Row
from devstack.providers.stripe import objects
from devstack.providers.stripe.account import Account
from devstack.providers.stripe.errors import invalid_request, no_such
from devstack.providers.stripe.params import Params

_BEHAVIOUR = "card_behaviour"
_DECLINED = "Your card was declined."
_NEVER = "do_not_try_again"


@dataclass(frozen=True)
class Decline:
    """How a card declines: Stripe's error code, decline code and message, and the issuer's advice.

    Advice is as in docs.stripe.com/declines/card: never again, later, or with other details.
    """

    code: str
    decline_code: str
    message: str = _DECLINED
    advice_code: str | None = "try_again_later"


AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
    None,
)

_TEST_CARDS: dict[str, Decline | None] = {
    "pm_card_visa": None,
    "pm_card_mastercard": None,
    "pm_card_authenticationRequired": AUTHENTICATION_REQUIRED,
    "pm_card_chargeDeclined": Decline("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": Decline(
        "card_declined", "insufficient_funds", "Your card has insufficient funds."
    ),
    "pm_card_chargeDeclinedLostCard": Decline("card_declined", "lost_card", advice_code=_NEVER),
    "pm_card_chargeDeclinedStolenCard": Decline("card_declined", "stolen_card", advice_code=_NEVER),
    "pm_card_chargeDeclinedFraudulent": Decline("card_declined", "fraudulent", advice_code=_NEVER),
    "pm_card_chargeDeclinedExpiredCard": Decline(
        "expired_card", "expired_card", "Your card has expired.", "confirm_card_data"
    ),
    "pm_card_chargeDeclinedIncorrectCvc": Decline(
        "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect."
    ),
    "pm_card_chargeDeclinedProcessingError": Decline(
        "processing_error", "processing_error", "An error occurred while processing your card."
    ),
}


def behaviour_of(name: str) -> str:
    """Return a test card's usual name. `pm_card_visa_chargeDeclined` and the like are accepted too.

    Raise StripeError for a name that is no test card.
    """
    canonical = name.replace("pm_card_visa_", "pm_card_")
    if canonical not in _TEST_CARDS:
        raise no_such("PaymentMethod", name, "payment_method")
    return canonical


def card_for(account: Account, name: str, customer: str | None) -> JsonObject:
    """Return the card of an id, or make one from a test card's name. Raise StripeError."""
    saved = account.find("payment_method", name)
    if saved is None:
        behaviour = behaviour_of(name)
        saved = account.save(objects.payment_method(account.clock.seconds(), None))
        set_behaviour(account, saved["id"], behaviour)
    if saved["customer"] not in (None, customer):
        raise invalid_request(
            f"The provided PaymentMethod {name} is attached to another Customer.",
            param="payment_method",
        )
    return saved


def set_behaviour(account: Account, card_id: str, behaviour: str) -> None:
    """Make a saved card act like a test card from now on, for example one without funds."""
    data = {"behaviour": behaviour_of(behaviour)}
    account.storage.save(Row(kind=_BEHAVIOUR, id=card_id, created=0, updated=0, data=data))


def decline_of(account: Account, card_id: str) -> Decline | None:
    """Return how the card declines, or None if it pays."""
    stored = account.storage.get(_BEHAVIOUR, card_id) or {"behaviour": "pm_card_visa"}
    return _TEST_CARDS[stored["behaviour"]]


def attach(account: Account, card: JsonObject, customer: str) -> JsonObject:
    """Save the card on the customer, unless it is saved; return it."""
    if card["customer"] == customer:
        return card
    attached = account.save(card | {"customer": customer})
    account.emit("payment_method.attached", attached)
    return attached


def attach_operation(account: Account, path: Params, params: Params) -> JsonObject:
    """POST /v1/payment_methods/{id}/attach."""
    account.in_param("customer", params["customer"], "customer")
    return attach(account, card_for(account, path["id"], params["customer"]), params["customer"])


def detach_operation(account: Account, path: Params, _: Params) -> JsonObject:
    """POST /v1/payment_methods/{id}/detach."""
    card = account.in_path("payment_method", path["id"])
    if card["customer"] is None:
        raise invalid_request(
            "The payment method you provided is not attached to a customer so detachment is "
            "impossible."
        )
    return detach(account, card)


def detach(account: Account, card: JsonObject) -> JsonObject:
    """Take a card from its customer."""
    detached = account.save(card | {"customer": None})
    account.emit("payment_method.detached", detached)
    return detached


def list_operation(account: Account, path: Params, params: Params) -> JsonObject:
    """GET /v1/payment_methods?customer= and GET /v1/customers/{id}/payment_methods."""
    if "id" in path:
        account.in_path("customer", path["id"])
        url = f"/v1/customers/{path['id']}/payment_methods"
        return account.page("payment_method", url, params, owner=path["id"])
    return account.page("payment_method", "/v1/payment_methods", params, owner=params["customer"])
