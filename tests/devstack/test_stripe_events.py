"""The webhooks that the Stripe stand-in sends."""

import asyncio
from pathlib import Path

import pytest
import stripe
from stripe.events import V1PaymentIntentSucceededEventNotification
from stripe.v2.core import Event

from devstack.providers.stripe.events import signed
from tests.support.stand_in_process import (
    STRIPE_SECRET,
    Receiver,
    StandIns,
    receiving,
    running,
    stripe_client,
)
from tests.support.stripe_customer import checkout, pay


async def test_every_change_is_delivered_signed(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    session = await checkout(sdk, payment_intent_data={"metadata": {"org_id": "org_1"}})
    await stand_ins.control("stripe", f"checkout/sessions/{session.id}/complete")
    await receiver.expect(4)
    assert receiver.types() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    for webhook in receiver.received:
        header = webhook.headers["stripe-signature"]
        event = stripe.Webhook.construct_event(webhook.body, header, STRIPE_SECRET)
        assert (await sdk.v1.events.retrieve_async(event.id)).type == event.type


async def test_copies_and_reverse_order(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    await stand_ins.control("stripe", "deliveries", {"copies": 2, "reverse": True})
    await pay(sdk)
    await receiver.expect(6)
    assert receiver.types()[::2] == [
        "payment_intent.succeeded",
        "charge.succeeded",
        "payment_intent.created",
    ]


async def test_a_refused_delivery_is_retried_until_it_is_taken(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    receiver.statuses += [500, 503]
    await sdk.v1.customers.create_async({})
    sent = await receiver.expect(3)
    assert len({webhook.json["id"] for webhook in sent}) == 1
    await asyncio.sleep(0.1)
    shown = (await stand_ins.stripe.get("/_control/deliveries")).json()["deliveries"][-1]
    assert (shown["state"], shown["attempts"], shown["last_status"]) == ("delivered", 3, 200)


async def test_a_dropped_event_can_still_be_listed_and_resent(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    await stand_ins.control("stripe", "deliveries", {"drop_fraction": 1.0})
    await sdk.v1.customers.create_async({})
    event = (await sdk.v1.events.list_async({"limit": 1})).data[0]
    await stand_ins.control("stripe", "deliveries", {"drop_fraction": 0.0})
    await stand_ins.control("stripe", f"events/{event.id}/resend")
    assert [webhook.json["id"] for webhook in await receiver.expect(1)] == [event.id]


async def test_a_thin_event_names_the_object_and_is_read_by_the_sdk(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    intent = await pay(sdk)
    await receiver.expect(3)
    [told] = (await sdk.v1.events.list_async({"type": "payment_intent.succeeded", "limit": 1})).data
    await stand_ins.control("stripe", f"events/{told.id}/resend", {"thin": True})
    webhook = (await receiver.expect(4))[-1]
    header = webhook.headers["stripe-signature"]
    event = sdk.parse_event_notification(webhook.body, header, STRIPE_SECRET)
    assert isinstance(event, V1PaymentIntentSucceededEventNotification)
    assert (event.related_object.type, event.related_object.id) == ("payment_intent", intent.id)
    assert event.related_object.url == f"/v1/payment_intents/{intent.id}"
    assert webhook.json.keys() - {"related_object"} <= Event.__annotations__.keys()


async def test_a_pause_holds_webhooks_back(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    await stand_ins.control("stripe", "deliveries", {"paused": True})
    await pay(sdk)
    await asyncio.sleep(0.1)
    assert receiver.received == []
    await stand_ins.control("stripe", "deliveries", {"paused": False})
    await receiver.expect(3)


async def test_a_killed_process_forgets_nothing(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    async with receiving() as receiver:
        receiver.statuses += [500] * 100
        async with running(state, "--stripe-webhook-url", receiver.url) as first:
            await first.control("stripe", "faults", {"kind": "hang", "path": "/v1/refunds"})
            async with stripe_client(first.urls["stripe"]) as sdk:
                intent = await pay(sdk, "survives")
            await receiver.expect(3)
            await first.end(kill=True)
        receiver.statuses.clear()
        receiver.received.clear()
        async with running(state, "--stripe-webhook-url", receiver.url) as second:
            async with stripe_client(second.urls["stripe"]) as sdk:
                assert (await pay(sdk, "survives")).id == intent.id
            faults = (await second.stripe.get("/_control/faults")).json()["faults"]
            assert [fault["kind"] for fault in faults] == ["hang"]
            await receiver.expect(3)
            assert await second.end() == 0


def test_a_signed_body_is_one_that_the_sdk_accepts() -> None:
    body = b'{"id": "evt_1", "object": "event"}'
    headers = signed(body, "whsec_x")
    stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], "whsec_x", 300)
    old = signed(body, "whsec_x", 1_000_000_000)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(body, old["Stripe-Signature"], "whsec_x", 300)
