"""The Stripe stand-in, driven by the real SDK over real HTTP, and held to the SDK's own types."""

import asyncio
import types
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import pytest
import stripe

from devstack.providers.stripe_events import signed
from tests.devstack.stand_ins import (
    STRIPE_SECRET,
    Receiver,
    StandIns,
    receiving,
    running,
    stripe_client,
)

# The SDK hands httpx its form as `data=`, which httpx would rather have as `content=`.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

PAYMENT: dict[str, Any] = {
    "amount": 5000,
    "currency": "gbp",
    "payment_method": "pm_card_visa",
    "confirm": True,
    "off_session": True,
    "metadata": {"org_id": "org_1", "type": "wallet_auto_recharge"},
}
CHECKOUT: dict[str, Any] = {
    "mode": "payment",
    "success_url": "https://example.com/paid",
    "client_reference_id": "org_1",
    "metadata": {"org_id": "org_1"},
    "payment_intent_data": {
        "metadata": {"type": "wallet_topup", "org_id": "org_1", "amount_minor": "2500"},
        "setup_future_usage": "off_session",
    },
    "line_items": [
        {
            "price_data": {
                "currency": "gbp",
                "unit_amount": 2500,
                "product_data": {"name": "Wallet top-up"},
            },
            "quantity": 1,
        }
    ],
}


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIns]:
    state = tmp_path_factory.mktemp("stripe") / "state.db"
    async with running(state) as stand_ins:
        yield stand_ins


@pytest.fixture
async def stand_ins(world: StandIns) -> AsyncIterator[StandIns]:
    yield world
    await world.reset()


@pytest.fixture
async def sdk(stand_ins: StandIns) -> AsyncIterator[stripe.StripeClient]:
    async with stripe_client(stand_ins.urls["stripe"]) as client:
        yield client


@pytest.fixture
async def receiver(stand_ins: StandIns) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        policy = {"url": receiver.url, "first_retry_seconds": 0.05}
        await stand_ins.control("stripe", "deliveries", policy)
        yield receiver


async def pay(sdk: stripe.StripeClient, key: str | None = None, **changes: Any) -> Any:
    options: Any = {"idempotency_key": key} if key else {}
    params: Any = {name: value for name, value in (PAYMENT | changes).items() if value is not None}
    return await sdk.v1.payment_intents.create_async(params, options)


async def checkout(sdk: stripe.StripeClient, **changes: Any) -> stripe.checkout.Session:
    params: Any = CHECKOUT | changes
    return await sdk.v1.checkout.sessions.create_async(params)


# The answers have the shape that the SDK declares.


def assert_conforms(declared: type, value: dict[str, Any], where: str = "") -> None:
    """Every field is declared, and every field that is not optional is there."""
    hints = {name: hint for name, hint in declared.__annotations__.items() if name != "OBJECT_NAME"}
    where = where or declared.__name__
    assert value.keys() <= hints.keys(), (where, value.keys() - hints.keys())
    for name, hint in hints.items():
        if name not in value:
            assert type(None) in get_args(hint), f"{where}.{name} is missing"
        else:
            assert fits(hint, value[name], f"{where}.{name}"), (f"{where}.{name}", value[name])


def fits(hint: Any, value: Any, where: str) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(fits(branch, value, where) for branch in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin is list:
        return isinstance(value, list) and all(fits(get_args(hint)[0], v, where) for v in value)
    if isinstance(hint, ForwardRef):
        hint = getattr(stripe, hint.__forward_arg__, stripe.StripeObject)
    if origin is None and issubclass(hint, stripe.StripeObject) and hint.__annotations__:
        return isinstance(value, dict) and conforms(hint, value, where)
    return isinstance(value, dict if origin or issubclass(hint, stripe.StripeObject) else hint)


def conforms(declared: type, value: dict[str, Any], where: str) -> bool:
    assert_conforms(declared, value, where)
    return True


async def test_every_object_has_the_fields_and_types_that_the_sdk_declares(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    session = await checkout(sdk)
    assert_conforms(stripe.checkout.Session, session.to_dict())
    path = f"checkout/sessions/{session.id}/complete"
    paid = await stand_ins.control("stripe", path)
    assert_conforms(stripe.checkout.Session, paid)
    intent = await sdk.v1.payment_intents.retrieve_async(
        paid["payment_intent"], {"expand": ["latest_charge", "customer", "payment_method"]}
    )
    assert_conforms(stripe.PaymentIntent, intent.to_dict())
    refund = await sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    assert_conforms(stripe.Refund, refund.to_dict())
    with pytest.raises(stripe.CardError) as declined:
        await pay(sdk, payment_method="pm_card_chargeDeclined")
    assert declined.value.error is not None
    assert_conforms(stripe.PaymentIntent, declined.value.error.to_dict()["payment_intent"])
    for event in (await sdk.v1.events.list_async({"limit": 100})).data:
        assert_conforms(stripe.Event, event.to_dict())
        assert event.api_version == "2026-10-28.endive"


async def test_expanded_lists_conform_too(sdk: stripe.StripeClient) -> None:
    await pay(sdk)
    listed = await sdk.v1.payment_intents.list_async({"expand": ["data.latest_charge.refunds"]})
    assert listed.data[0].latest_charge
    assert_conforms(stripe.PaymentIntent, listed.data[0].to_dict())


# Requests are checked as Stripe checks them.


@pytest.mark.parametrize(
    ("form", "code", "param"),
    [
        ("amount=100&currency=gbp&bogus=1", "parameter_unknown", "bogus"),
        (
            "amount=100&currency=gbp&automatic_payment_methods[on]=1",
            "parameter_unknown",
            "automatic_payment_methods[on]",
        ),
        ("currency=gbp", "parameter_missing", "amount"),
        ("amount=abc&currency=gbp", "parameter_invalid_integer", "amount"),
        ("amount=10&currency=gbp", "amount_too_small", "amount"),
        ("amount=100&currency=GBP", None, "currency"),
        ("amount=100&currency=gbp&customer=cus_none", "resource_missing", "customer"),
        ("amount=100&currency=gbp&off_session=true", None, "off_session"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(
    stand_ins: StandIns, form: str, code: str | None, param: str
) -> None:
    answer = await stand_ins.stripe.post(
        "/v1/payment_intents",
        content=form,
        headers={
            "Authorization": "Bearer sk_test_key",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error.get("code"), error["param"]) == (code, param)


async def test_a_request_without_a_secret_key_is_401(stand_ins: StandIns) -> None:
    async with stripe_client(stand_ins.urls["stripe"]) as client:
        with pytest.raises(stripe.AuthenticationError):
            await client.v1.charges.list_async({}, {"api_key": "pk_test_key"})
    assert (await stand_ins.stripe.get("/v1/charges")).status_code == 401


async def test_an_unknown_id_is_404_and_an_unknown_url_too(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent") as missing:
        await sdk.v1.payment_intents.retrieve_async("pi_none")
    assert (missing.value.http_status, missing.value.code) == (404, "resource_missing")
    assert missing.value.param == "intent"
    assert (await stand_ins.stripe.get("/v1/nothing")).json()["error"]["type"]


# Payments.


async def test_a_payment_succeeds_and_keeps_its_metadata(sdk: stripe.StripeClient) -> None:
    intent = await pay(sdk)
    assert (intent.status, intent.amount_received) == ("succeeded", 5000)
    assert intent.metadata.to_dict() == PAYMENT["metadata"]
    charges = await sdk.v1.charges.list_async({"payment_intent": intent.id})
    assert [charge.status for charge in charges.data] == ["succeeded"]


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


async def test_refunds_cannot_exceed_the_payment(sdk: stripe.StripeClient) -> None:
    intent = await pay(sdk)
    await sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 2000})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        await sdk.v1.refunds.create_async({"payment_intent": intent.id, "amount": 3001})
    await sdk.v1.refunds.create_async({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as again:
        await sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert again.value.code == "charge_already_refunded"
    charge = await sdk.v1.charges.retrieve_async(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (5000, True)
    listed = await sdk.v1.refunds.list_async({"payment_intent": intent.id})
    assert [refund.amount for refund in listed.data] == [3000, 2000]


# Checkout.


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


# Idempotency.


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


# Faults.


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


# Webhooks.


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
