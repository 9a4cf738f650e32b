"""Customers that are searched for, and checkouts that a bank pays later, by the real SDK."""

import asyncio
from typing import Any

import pytest
import stripe

from devstack.providers.stripe_customers import SEARCHABLE_AFTER_SECONDS
from tests.devstack.stand_ins import StandIns
from tests.devstack.stripe_customer import checkout, events_about
from tests.devstack.test_stripe_types import assert_conforms
from tests.factories import unique

BANK_DEBIT = {"payment_method": "pm_bacsDebit_success"}


async def found(sdk: stripe.StripeClient, org_id: str) -> list[str]:
    asked = {"query": f"metadata['org_id']:'{org_id}'"}
    return [one.id for one in (await sdk.v1.customers.search_async(asked)).data]  # type: ignore[arg-type]


async def test_a_search_finds_customers_by_metadata_after_a_while_and_whatever_the_case(
    sdk: stripe.StripeClient,
) -> None:
    org_id = unique("org")
    made = [
        (await sdk.v1.customers.create_async({"metadata": {"org_id": one}})).id
        for one in (org_id, org_id.upper(), f"{org_id}x")
    ]
    assert await found(sdk, org_id) == []
    await asyncio.sleep(SEARCHABLE_AFTER_SECONDS + 1)
    assert sorted(await found(sdk, org_id)) == sorted(made[:2])
    assert await found(sdk, "it\\'s not there") == []
    with pytest.raises(stripe.InvalidRequestError):
        await sdk.v1.customers.search_async({"query": "name:'anybody'"})


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
