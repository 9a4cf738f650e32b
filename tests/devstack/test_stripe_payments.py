"""Payments and checkout at the Stripe stand-in, by the real SDK."""

from typing import Any

import pytest
import stripe

from tests.support.stand_in_process import Receiver, StandIns
from tests.support.stripe_customer import CHECKOUT, PAYMENT, checkout, pay


async def test_a_payment_succeeds_and_keeps_its_metadata(sdk: stripe.StripeClient) -> None:
    intent = await pay(sdk)
    assert (intent.status, intent.amount_received) == ("succeeded", 5000)
    assert intent.metadata.to_dict() == PAYMENT["metadata"]
    charges = await sdk.v1.charges.list_async({"payment_intent": intent.id})
    assert [charge.status for charge in charges.data] == ["succeeded"]


async def test_a_payment_is_edited_in_the_dashboard_and_that_makes_no_event(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    intent = await pay(sdk)
    customer = await sdk.v1.customers.create_async()
    newest = (await sdk.v1.events.list_async({"limit": 1})).data[0].id
    edited = {"metadata": {"type": "", "org_id": "another"}, "customer": customer.id}
    await stand_ins.control("stripe", f"payment_intents/{intent.id}", edited)
    after = await sdk.v1.payment_intents.retrieve_async(intent.id)
    assert after.metadata.to_dict() == {"org_id": "another"}
    assert (after.customer, after.status) == (customer.id, "succeeded")
    assert (await sdk.v1.events.list_async({"limit": 1})).data[0].id == newest


@pytest.mark.parametrize(
    ("card", "decline_code"),
    [
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "stolen_card"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
        ("pm_card_authenticationRequired", "authentication_required"),
    ],
)
async def test_a_test_card_declines_with_its_code_and_the_payment_inside(
    sdk: stripe.StripeClient, card: str, decline_code: str
) -> None:
    with pytest.raises(stripe.CardError) as declined:
        await pay(sdk, payment_method=card)
    error = declined.value.error
    assert error is not None
    assert error.payment_intent is not None
    assert (declined.value.http_status, error.decline_code) == (402, decline_code)
    intent = await sdk.v1.payment_intents.retrieve_async(error.payment_intent.id)
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error
    assert intent.last_payment_error.decline_code == decline_code


async def test_an_authentication_on_session_waits_for_the_customer(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    waiting = await pay(sdk, payment_method="pm_card_authenticationRequired", off_session=None)
    assert waiting.status == "requires_action"
    path = f"payment_intents/{waiting.id}/authenticate"
    assert (await stand_ins.control("stripe", path))["status"] == "succeeded"


async def test_a_failed_payment_can_be_confirmed_with_another_card_or_canceled(
    sdk: stripe.StripeClient,
) -> None:
    intent = await pay(sdk, confirm=None, off_session=None, payment_method=None)
    with pytest.raises(stripe.CardError):
        await sdk.v1.payment_intents.confirm_async(
            intent.id, {"payment_method": "pm_card_chargeDeclined"}
        )
    paid = await sdk.v1.payment_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa"})
    assert paid.status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError, match="status of succeeded"):
        await sdk.v1.payment_intents.cancel_async(intent.id)


async def test_a_saved_card_can_run_out_of_money(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    session = await checkout(sdk)
    paid = await stand_ins.control("stripe", f"checkout/sessions/{session.id}/complete")
    cards = await sdk.v1.customers.payment_methods.list_async(paid["customer"])
    saved = {"customer": paid["customer"], "payment_method": cards.data[0].id}
    assert (await pay(sdk, **saved)).status == "succeeded"
    body = {"behaviour": "pm_card_chargeDeclinedInsufficientFunds"}
    await stand_ins.control("stripe", f"payment_methods/{cards.data[0].id}", body)
    with pytest.raises(stripe.CardError, match="insufficient funds"):
        await pay(sdk, **saved)


async def test_lists_page_newest_first_and_filter(sdk: stripe.StripeClient) -> None:
    customer = await sdk.v1.customers.create_async({"metadata": {"org_id": "org_1"}})
    made = [(await pay(sdk, customer=customer.id)).id for _ in range(5)]
    params: Any = {"customer": customer.id, "limit": 2}
    first = await sdk.v1.payment_intents.list_async(params)
    assert ([item.id for item in first.data], first.has_more) == (made[:2:-1], True)
    everything = [item.id async for item in first.auto_paging_iter()]
    assert everything == made[::-1]
    params["ending_before"] = made[0]
    before = await sdk.v1.payment_intents.list_async(params)
    assert [item.id for item in before.data] == [made[2], made[1]]
    later: Any = {"customer": customer.id, "created": {"gt": first.data[0].created + 10}}
    assert (await sdk.v1.payment_intents.list_async(later)).data == []


async def test_a_completed_checkout_pays_with_the_metadata_that_was_asked_for(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    session = await checkout(sdk)
    assert (session.status, session.payment_intent, session.amount_total) == ("open", None, 2500)
    path = f"checkout/sessions/{session.id}/complete"
    paid = await stand_ins.control("stripe", path)
    assert (paid["status"], paid["payment_status"]) == ("complete", "paid")
    intent = await sdk.v1.payment_intents.retrieve_async(paid["payment_intent"])
    assert intent.metadata.to_dict() == CHECKOUT["payment_intent_data"]["metadata"]
    found = await sdk.v1.checkout.sessions.list_async({"payment_intent": intent.id})
    assert [item.id for item in found.data] == [session.id]
    assert (await stand_ins.stripe.post(f"/_control/{path}", json={})).status_code == 400


async def test_a_person_can_pay_on_the_page_that_the_session_links_to(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    session = await checkout(sdk)
    assert session.url
    assert "Pay 25.00 GBP" in (await stand_ins.stripe.get(session.url)).text
    paid = await stand_ins.stripe.post(session.url)
    assert (paid.status_code, paid.headers["location"]) == (303, CHECKOUT["success_url"])
    assert (await sdk.v1.checkout.sessions.retrieve_async(session.id)).payment_status == "paid"


async def test_a_declined_checkout_stays_open(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    session = await checkout(sdk)
    answer = await stand_ins.stripe.post(
        f"/_control/checkout/sessions/{session.id}/complete",
        json={"payment_method": "pm_card_chargeDeclined"},
    )
    assert answer.status_code == 402
    assert (await sdk.v1.checkout.sessions.retrieve_async(session.id)).status == "open"


async def test_a_session_expires_when_told_or_when_its_time_has_come(
    sdk: stripe.StripeClient, stand_ins: StandIns, receiver: Receiver
) -> None:
    told = await checkout(sdk)
    assert (await sdk.v1.checkout.sessions.expire_async(told.id)).status == "expired"
    with pytest.raises(stripe.InvalidRequestError):
        await sdk.v1.checkout.sessions.expire_async(told.id)
    forgotten = await checkout(sdk)
    await stand_ins.control("stripe", "clock", {"advance_seconds": 24 * 3600})
    assert (await sdk.v1.checkout.sessions.retrieve_async(forgotten.id)).status == "expired"
    await receiver.expect(2)
    assert set(receiver.types()) == {"checkout.session.expired"}
