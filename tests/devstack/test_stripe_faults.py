"""Idempotency keys and faults of the Stripe stand-in, by the real SDK."""

import asyncio

import pytest
import stripe

from tests.support.stand_in_process import StandIns, stripe_client
from tests.support.stripe_customer import pay


async def test_a_key_replays_the_first_answer_and_charges_once(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    first, second = await pay(sdk, "replay"), await pay(sdk, "replay")
    assert first.id == second.id
    assert first.last_response.headers.get("Idempotent-Replayed") is None
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert second.last_response.headers["Original-Request"] == first.last_response.request_id


async def test_a_key_replays_a_decline(sdk: stripe.StripeClient) -> None:
    charges = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            await pay(sdk, "declined", payment_method="pm_card_chargeDeclined")
        assert declined.value.error is not None
        charges.append(declined.value.error.charge)
    assert charges[0] == charges[1]


async def test_a_key_with_other_parameters_is_refused(sdk: stripe.StripeClient) -> None:
    await pay(sdk, "reused")
    with pytest.raises(stripe.IdempotencyError) as refused:
        await pay(sdk, "reused", amount=6000)
    assert refused.value.http_status == 400


async def test_a_request_that_was_invalid_leaves_no_key(sdk: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await pay(sdk, "invalid", bogus=1)
    assert (await pay(sdk, "invalid")).status == "succeeded"


async def test_a_key_in_flight_is_409(sdk: stripe.StripeClient, stand_ins: StandIns) -> None:
    await stand_ins.control("stripe", "faults", {"kind": "delay", "seconds": 0.5})
    slow = asyncio.create_task(pay(sdk, "flight"))
    await asyncio.sleep(0.2)
    with pytest.raises(stripe.APIError) as busy:
        await pay(sdk, "flight")
    assert busy.value.error is not None
    assert (busy.value.http_status, busy.value.error.code) == (409, "idempotency_key_in_use")
    assert (await slow).id == (await pay(sdk, "flight")).id


async def test_a_key_is_forgotten_after_a_day(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    first = await pay(sdk, "old")
    await stand_ins.control("stripe", "clock", {"advance_seconds": 24 * 3600 + 1})
    assert (await pay(sdk, "old")).id != first.id


async def test_a_500_after_the_work_leaves_a_payment_to_be_found(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    fault = {"kind": "status_after", "method": "POST", "path": "/v1/payment_intents"}
    await stand_ins.control("stripe", "faults", fault)
    customer = await sdk.v1.customers.create_async({})
    with pytest.raises(stripe.APIError):
        await pay(sdk, "lost answer", customer=customer.id)
    found = await sdk.v1.payment_intents.list_async({"customer": customer.id})
    assert [item.status for item in found.data] == ["succeeded"]
    assert (await pay(sdk, "lost answer", customer=customer.id)).id == found.data[0].id


async def test_a_stored_500_is_replayed_though_the_payment_succeeded(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    fault = {"kind": "status_after", "path": "/v1/payment_intents", "stored": True}
    await stand_ins.control("stripe", "faults", fault)
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            await pay(sdk, "stored 500", metadata={"attempt": "stored"})
    found = await sdk.v1.payment_intents.list_async({"limit": 3})
    assert [item.metadata.to_dict() for item in found.data].count({"attempt": "stored"}) == 1


@pytest.mark.parametrize("kind", ["reset", "reset_after", "hang", "timeout_after"])
async def test_a_lost_connection_is_a_connection_error(stand_ins: StandIns, kind: str) -> None:
    await stand_ins.control("stripe", "faults", {"kind": kind, "path": "/v1/payment_intents"})
    async with stripe_client(stand_ins.urls["stripe"], give_up_seconds=0.5) as sdk:
        before = await sdk.v1.events.list_async({"limit": 1, "type": "payment_intent.succeeded"})
        with pytest.raises(stripe.APIConnectionError):
            await pay(sdk)
        after = await sdk.v1.events.list_async({"limit": 1, "type": "payment_intent.succeeded"})
    happened = [e.id for e in before.data] != [e.id for e in after.data]
    assert happened == kind.endswith("_after")


async def test_a_fault_fires_as_often_as_told_and_counts(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    fault = {"kind": "status", "status": 429, "retry_after": 1, "path": "/v1/c*", "times": 2}
    await stand_ins.control("stripe", "faults", fault)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError) as limited:
            await sdk.v1.charges.list_async()
        assert limited.value.headers
        assert limited.value.headers["retry-after"] == "1"
    await sdk.v1.charges.list_async()
    shown = (await stand_ins.stripe.get("/_control/faults")).json()["faults"]
    assert [fault["hits"] for fault in shown] == [2]
