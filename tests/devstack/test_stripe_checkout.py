"""Customers that are deleted, and checkouts that a bank pays later, by the real SDK."""

from typing import Any

import pytest
import stripe

from tests.devstack.test_stripe_types import assert_conforms
from tests.support.factories import unique
from tests.support.stand_in_process import StandIns
from tests.support.stripe_customer import checkout, events_about

BANK_DEBIT = {"payment_method": "pm_bacsDebit_success"}


async def test_a_customer_that_is_deleted_is_told_of_as_deleted_and_can_be_named_no_more(
    sdk: stripe.StripeClient,
) -> None:
    customer = await sdk.v1.customers.create_async({}, {"idempotency_key": unique("key")})
    card = await sdk.v1.payment_methods.attach_async("pm_card_visa", {"customer": customer.id})
    deleted = await sdk.v1.customers.delete_async(customer.id)
    told = await sdk.v1.customers.retrieve_async(customer.id)
    assert deleted.to_dict() == told.to_dict() == {
        "id": customer.id, "object": "customer", "deleted": True
    }  # fmt: skip
    assert (await sdk.v1.payment_methods.retrieve_async(card.id)).customer is None
    for naming in (
        checkout(sdk, customer=customer.id),
        sdk.v1.customers.payment_methods.list_async(customer.id),
        sdk.v1.customers.update_async(customer.id, {"name": "Anybody"}),
    ):
        with pytest.raises(stripe.InvalidRequestError, match="No such customer"):
            await naming


async def test_there_is_no_search_as_in_some_countries(sdk: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        await sdk.v1.customers.search_async({"query": "metadata['org_id']:'acme'"})


async def completed(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> tuple[dict[str, Any], stripe.PaymentIntent]:
    session = await checkout(sdk)
    path = f"checkout/sessions/{session.id}/complete"
    done = await stand_ins.control("stripe", path, BANK_DEBIT)
    return done, await sdk.v1.payment_intents.retrieve_async(done["payment_intent"])


async def clear(stand_ins: StandIns, session_id: str, *, succeed: bool) -> dict[str, Any]:
    path = f"checkout/sessions/{session_id}/clear"
    cleared: dict[str, Any] = await stand_ins.control("stripe", path, {"succeed": succeed})
    return cleared


async def test_a_bank_debit_completes_a_checkout_that_is_not_paid_yet(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    done, intent = await completed(sdk, stand_ins)
    assert (done["status"], done["payment_status"], done["url"]) == ("complete", "unpaid", None)
    assert (intent.status, intent.amount_received) == ("processing", 0)
    assert_conforms(stripe.checkout.Session, done)
    assert_conforms(stripe.PaymentIntent, intent.to_dict())
    assert await events_about(sdk, intent.id) == [
        "payment_intent.created",
        "payment_intent.processing",
        "checkout.session.completed",
    ]


async def test_a_debit_that_clears_pays_the_session_once(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    done, intent = await completed(sdk, stand_ins)
    paid = await clear(stand_ins, done["id"], succeed=True)
    assert (paid["status"], paid["payment_status"]) == ("complete", "paid")
    after = await sdk.v1.payment_intents.retrieve_async(
        intent.id, {"expand": ["latest_charge", "payment_method"]}
    )
    assert (after.status, after.amount_received) == ("succeeded", 2500)
    assert_conforms(stripe.PaymentIntent, after.to_dict())
    assert (await events_about(sdk, intent.id))[-2:] == [
        "payment_intent.succeeded",
        "checkout.session.async_payment_succeeded",
    ]
    path = f"/_control/checkout/sessions/{done['id']}/clear"
    assert (await stand_ins.stripe.post(path)).status_code == 400


async def test_a_debit_that_comes_back_leaves_the_session_unpaid_for_good(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    done, intent = await completed(sdk, stand_ins)
    failed = await clear(stand_ins, done["id"], succeed=False)
    assert (failed["status"], failed["payment_status"]) == ("complete", "unpaid")
    after = await sdk.v1.payment_intents.retrieve_async(intent.id)
    assert (after.status, after.amount_received) == ("requires_payment_method", 0)
    assert_conforms(stripe.PaymentIntent, after.to_dict())
    assert (await events_about(sdk, intent.id))[-2:] == [
        "payment_intent.payment_failed",
        "checkout.session.async_payment_failed",
    ]
