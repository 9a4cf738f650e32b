"""Stripe's thin events: hints like any other, which name an object instead of showing it."""

import json
from typing import Any

import pytest
import stripe as sdk

from api.webhooks.stripe import _PAYMENT_AT, _TELL_THEIR_CHECKOUT
from billing.payments.payment import payment_workflow_id
from devstack.providers.stripe.events import thin
from store.inbox import lookup
from tests.support.answers import accepted, eventually
from tests.support.api_server import Api, serving
from tests.support.factories import an_organization, balance_of, keys_of, unique
from tests.support.signed_webhooks import STRIPE_SECRETS, signed_by_stripe, thin_event
from tests.support.stand_ins import StripeStandIn

# The types of events after which something may be due, and whose object each names
# (stripe 16.1, `stripe.events`).
OBJECT_OF = {
    "v1.payment_intent.succeeded": "payment_intent",
    "v1.checkout.session.completed": "checkout.session",
    "v1.checkout.session.expired": "checkout.session",
    "v1.checkout.session.async_payment_succeeded": "checkout.session",
    "v1.checkout.session.async_payment_failed": "checkout.session",
    "v1.charge.captured": "charge",
    "v1.charge.refunded": "charge",
    "v1.charge.refund.updated": "refund",
    "v1.refund.created": "refund",
    "v1.refund.updated": "refund",
    "v1.refund.failed": "refund",
    "v1.charge.dispute.created": "dispute",
    "v1.charge.dispute.funds_withdrawn": "dispute",
    "v1.charge.dispute.funds_reinstated": "dispute",
    "v1.charge.dispute.updated": "dispute",
    "v1.charge.dispute.closed": "dispute",
}


def test_the_thin_form_of_every_event_that_counts_is_known() -> None:
    counting = {f"v1.{name}" for name in _PAYMENT_AT | dict.fromkeys(_TELL_THEIR_CHECKOUT, "")}
    assert OBJECT_OF.keys() == counting


@pytest.mark.parametrize("event_type", OBJECT_OF)
async def test_a_thin_event_is_kept_with_the_object_that_it_is_about(
    api: Api, event_type: str
) -> None:
    about = (OBJECT_OF[event_type], unique("object"))
    event = thin_event(event_type, about)
    read: Any = sdk.StripeClient("sk_test_1").parse_event_notification(
        event.body, event.headers["stripe-signature"], STRIPE_SECRETS[0].decode()
    )
    named = read.related_object
    assert (read.type, named.type, named.id) == (event_type, *about)
    assert accepted(await api.send(event)) == "accepted"
    row = await api.event(event.key)
    assert (row.type, row.subject, row.status) == (event_type, about[1], "waiting")
    assert accepted(await api.send(event)) == "duplicate"


@pytest.mark.parametrize(
    ("event_type", "changed"),
    [
        ("v1.payment_intent.created", {}),
        ("v1.payment_intent.canceled", {}),
        ("v1.customer.deleted", {"related_object": {"id": "cus_1", "type": "customer"}}),
        ("v1.charge.refunded", {"related_object": {"id": "in_1", "type": "invoice"}}),
        ("v1.charge.refunded", {"related_object": {"id": {"no": "id"}, "type": "charge"}}),
        ("v1.charge.refunded", {"related_object": None}),
        ("v1.balance.available", {"related_object": {"type": "balance", "url": "/v1/balance"}}),
        (
            "v2.core.account.created",
            {"related_object": {"id": "acct_1", "type": "v2.core.account"}},
        ),
        ("never.heard.of", {}),
    ],
)
async def test_a_thin_event_that_leads_to_no_payment_is_recorded_as_ignored(
    api: Api, event_type: str, changed: dict[str, Any]
) -> None:
    event = thin_event(event_type, **changed)
    assert accepted(await api.send(event)) == "ignored"
    row = await api.event(event.key)
    assert (row.type, row.subject, row.status) == (event_type, "", "ignored")


async def test_a_thin_event_of_another_account_is_ignored_and_counted(api: Api) -> None:
    before = (await api.counted()).get(("stripe", "other_account"), 0.0)
    event = thin_event(context="acct_connected")
    assert accepted(await api.send(event)) == "ignored"
    assert (await api.event(event.key)).status == "ignored"
    assert accepted(await api.send(thin_event(context=""))) == "accepted"
    assert (await api.counted())["stripe", "other_account"] == before + 1


@pytest.mark.parametrize("about", ["payment_intent", "charge"])
async def test_a_thin_event_of_the_other_mode_is_ignored(api: Api, about: str) -> None:
    async with serving(api.engine, api.temporal, stripe_livemode=True) as live:
        ours, others = (
            thin_event("v1.charge.captured", (about, unique("object")), livemode=is_live)
            for is_live in (True, False)
        )
        assert accepted(await live.send(ours)) == "accepted"
        assert accepted(await live.send(others)) == "ignored"


async def bring(api: Api, stripe: StripeStandIn, start: str, *types: str) -> list[str]:
    """Send the thin forms of what Stripe has made since `start`; return their keys."""
    made = [one for one in await stripe.events_after(start) if one["type"] in types]
    sent = [thin(one) for one in made]
    for one in sent:
        event = signed_by_stripe(json.dumps(one).encode(), one["id"])
        assert accepted(await api.send(event)) == "accepted"
    assert [one["type"] for one in made] == list(types)
    return [one["id"] for one in sent]


async def are_handled(api: Api, keys: list[str], subject: str) -> bool:
    rows = [await api.event(key) for key in keys]
    return {(row.status, row.subject) for row in rows} == {("handled", subject)}


@pytest.mark.parametrize(
    "event_type",
    ["payment_intent.succeeded", "checkout.session.completed", "charge.captured"],
)
async def test_a_top_up_is_credited_by_one_thin_event(
    working_api: Api, stripe: StripeStandIn, event_type: str
) -> None:
    org_id, start = await an_organization(working_api.engine), await stripe.make_event()
    if event_type == "checkout.session.completed":
        payment_id = await stripe.checkout(org_id, 2500, type="wallet_topup", org_id=org_id)
    else:
        payment_id = await stripe.payment(org_id, 2500, capture="manual")
        await stripe.capture(payment_id, 2500)
    keys = await bring(working_api, stripe, start, event_type)
    await eventually(lambda: are_handled(working_api, keys, payment_id))
    assert await keys_of(working_api.engine, org_id) == [f"payment:{payment_id}:credit"]


async def test_what_goes_back_is_posted_by_thin_events_alone(
    working_api: Api, stripe: StripeStandIn
) -> None:
    """They are found by their payment afterwards, and show what they came to."""
    org_id, start = await an_organization(working_api.engine), await stripe.make_event()
    payment_id = await stripe.payment(org_id, 2500)
    refund_id = await stripe.refund(payment_id, amount=900)
    [key] = await bring(working_api, stripe, start, "refund.created")
    await eventually(lambda: are_handled(working_api, [key], payment_id))
    assert await balance_of(working_api.engine, org_id) == 1600
    dispute_id = await stripe.dispute(payment_id, amount=1600)
    keys = await bring(working_api, stripe, start, "charge.dispute.funds_withdrawn")
    await eventually(lambda: are_handled(working_api, keys, payment_id))
    assert await balance_of(working_api.engine, org_id) == 0
    assert f"dispute:{dispute_id}" in await keys_of(working_api.engine, org_id)
    async with working_api.engine.connect() as connection:
        event_id = (await working_api.event(key)).event_id
        shown = await lookup.read(connection, event_id)
    assert shown.workflow_id == payment_workflow_id(payment_id)
    assert f"refund:{refund_id}" in [entry.key for entry in shown.entries]
