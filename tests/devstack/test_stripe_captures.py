"""Payments at the Stripe stand-in that are captured later, in part, or not at all."""

from typing import Any

import pytest
import stripe

from tests.support.stripe_customer import events_about, pay


async def authorized(sdk: stripe.StripeClient) -> Any:
    return await pay(sdk, capture_method="manual")


async def test_an_authorized_payment_has_received_nothing(
    sdk: stripe.StripeClient,
) -> None:
    intent = await authorized(sdk)
    assert intent.status == "requires_capture"
    assert (intent.amount_capturable, intent.amount_received) == (5000, 0)
    assert (await events_about(sdk, intent.id))[1:] == [
        "charge.succeeded",
        "payment_intent.amount_capturable_updated",
    ]


async def test_a_capture_takes_everything_unless_it_is_told_otherwise(
    sdk: stripe.StripeClient,
) -> None:
    captured = await sdk.v1.payment_intents.capture_async((await authorized(sdk)).id)
    assert (captured.status, captured.amount_received) == ("succeeded", 5000)
    assert (await sdk.v1.refunds.list_async({"payment_intent": captured.id})).data == []


async def test_a_capture_in_part_refunds_the_rest_without_booking_anything(
    sdk: stripe.StripeClient,
) -> None:
    intent = await authorized(sdk)
    captured = await sdk.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 3000})
    assert (captured.status, captured.amount) == ("succeeded", 5000)
    assert (captured.amount_received, captured.amount_capturable) == (3000, 0)
    [released] = (await sdk.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert (released.amount, released.status) == (2000, "succeeded")
    assert released.balance_transaction is None
    await sdk.v1.refunds.create_async({"payment_intent": intent.id})
    charge = await sdk.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.amount_captured, charge.amount_refunded, charge.refunded) == (3000, 5000, True)
    assert (await events_about(sdk, intent.id))[3:7] == [
        "charge.captured",
        "refund.created",
        "charge.refunded",
        "payment_intent.succeeded",
    ]


async def test_a_payment_that_is_canceled_before_its_capture_gives_everything_back(
    sdk: stripe.StripeClient,
) -> None:
    intent = await authorized(sdk)
    canceled = await sdk.v1.payment_intents.cancel_async(intent.id)
    assert (canceled.status, canceled.amount_capturable) == ("canceled", 0)
    [released] = (await sdk.v1.refunds.list_async({"payment_intent": intent.id})).data
    assert (released.amount, released.balance_transaction) == (5000, None)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"amount_to_capture": 5001}, "amount_to_capture"),
        ({"amount_to_capture": 0}, "amount_to_capture"),
        ({"final_capture": False}, "final_capture"),
    ],
)
async def test_a_capture_that_cannot_be_is_refused(
    sdk: stripe.StripeClient, asked: Any, param: str
) -> None:
    intent = await authorized(sdk)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await sdk.v1.payment_intents.capture_async(intent.id, asked)
    assert refused.value.param == param
    await sdk.v1.payment_intents.capture_async(intent.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await sdk.v1.payment_intents.capture_async(intent.id)
