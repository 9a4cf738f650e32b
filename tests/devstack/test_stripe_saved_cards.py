"""Saved cards of the Stripe stand-in, as auto-recharge meets them, by the real SDK."""

from typing import Any

import pytest
import stripe

from tests.devstack.test_stripe_types import assert_conforms
from tests.support.stand_in_process import StandIns
from tests.support.stripe_customer import pay


async def a_customer(sdk: stripe.StripeClient, card: str = "pm_card_visa") -> tuple[str, str]:
    """A customer and the card that it has saved."""
    customer = await sdk.v1.customers.create_async({})
    saved = await sdk.v1.payment_methods.attach_async(card, {"customer": customer.id})
    return customer.id, saved.id


async def test_a_card_has_a_fingerprint_that_goes_into_its_charges(
    sdk: stripe.StripeClient,
) -> None:
    customer, card = await a_customer(sdk)
    saved = await sdk.v1.payment_methods.retrieve_async(card)
    assert_conforms(stripe.PaymentMethod, saved.to_dict())
    intent = await pay(sdk, customer=customer, payment_method=card)
    charge = await sdk.v1.charges.retrieve_async(str(intent.latest_charge))
    assert saved.card is not None
    assert charge.payment_method_details is not None
    assert charge.payment_method_details.card is not None
    assert charge.payment_method_details.card.fingerprint == saved.card.fingerprint


async def test_another_card_becomes_the_default_and_has_another_fingerprint(
    sdk: stripe.StripeClient,
) -> None:
    customer, first = await a_customer(sdk)
    second = await sdk.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer})
    settings: Any = {"invoice_settings": {"default_payment_method": second.id}}
    changed = await sdk.v1.customers.update_async(customer, settings)
    assert_conforms(stripe.Customer, changed.to_dict())
    assert changed.invoice_settings is not None
    assert changed.invoice_settings.default_payment_method == second.id
    cards = (await sdk.v1.customers.payment_methods.list_async(customer, {"type": "card"})).data
    assert [one.id for one in cards] == [second.id, first]
    assert len({one.card.fingerprint for one in cards if one.card}) == 2


@pytest.mark.parametrize(
    ("card", "advice"),
    [
        ("pm_card_chargeDeclinedLostCard", "do_not_try_again"),
        ("pm_card_chargeDeclinedExpiredCard", "confirm_card_data"),
        ("pm_card_chargeDeclinedInsufficientFunds", "try_again_later"),
        ("pm_card_authenticationRequired", None),
    ],
)
async def test_a_decline_has_the_issuers_advice(
    sdk: stripe.StripeClient, stand_ins: StandIns, card: str, advice: str | None
) -> None:
    customer, saved = await a_customer(sdk)
    await stand_ins.control("stripe", f"payment_methods/{saved}", {"behaviour": card})
    with pytest.raises(stripe.CardError) as declined:
        await pay(sdk, customer=customer, payment_method=saved)
    error = declined.value.error
    assert error is not None
    assert error.advice_code == advice
    assert error.payment_intent is not None
    assert_conforms(stripe.PaymentIntent, error.payment_intent.to_dict())
