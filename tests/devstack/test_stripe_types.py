"""The Stripe stand-in's answers and requests, held to the SDK's own types."""

import types
from typing import Any, ForwardRef, Literal, Union, get_args, get_origin

import pytest
import stripe

from tests.support.stand_in_process import StandIns, stripe_client
from tests.support.stripe_customer import checkout, pay
from tests.support.stripe_types import differences


def assert_conforms(declared: type, value: dict[str, Any], where: str = "") -> None:
    """Every field is declared, and those are absent, or null, that may be."""
    hints = {name: hint for name, hint in declared.__annotations__.items() if name != "OBJECT_NAME"}
    where = where or declared.__name__
    assert value.keys() <= hints.keys(), (where, value.keys() - hints.keys())
    assert differences(declared.__qualname__, value) == []
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
    await assert_disputes_conform(sdk, stand_ins, intent.id)
    with pytest.raises(stripe.CardError) as declined:
        await pay(sdk, payment_method="pm_card_chargeDeclined")
    assert declined.value.error is not None
    assert_conforms(stripe.PaymentIntent, declined.value.error.to_dict()["payment_intent"])
    for event in (await sdk.v1.events.list_async({"limit": 100})).data:
        assert_conforms(stripe.Event, event.to_dict())
        assert event.api_version == "2026-10-28.endive"


async def assert_disputes_conform(
    sdk: stripe.StripeClient, stand_ins: StandIns, payment_id: str
) -> None:
    """A dispute that was won, a refund that failed, and what both have booked."""
    made = await stand_ins.control("stripe", f"payment_intents/{payment_id}/disputes")
    await stand_ins.control("stripe", f"disputes/{made['id']}", {"status": "won"})
    dispute = await sdk.v1.disputes.retrieve_async(made["id"])
    assert_conforms(stripe.Dispute, dispute.to_dict())
    path, waits = f"payment_intents/{payment_id}/refunds", {"amount": 100, "status": "pending"}
    assert_conforms(stripe.Refund, await stand_ins.control("stripe", path, waits))
    made = await stand_ins.control("stripe", path, {"amount": 100})
    failed = await stand_ins.control("stripe", f"refunds/{made['id']}", {"status": "failed"})
    assert_conforms(stripe.Refund, failed)
    given_back = failed["failure_balance_transaction"]
    booked = await sdk.v1.balance_transactions.retrieve_async(given_back)
    for one in (*dispute.balance_transactions, booked):
        assert_conforms(stripe.BalanceTransaction, one.to_dict())


async def test_a_payment_that_was_captured_in_part_conforms(sdk: stripe.StripeClient) -> None:
    intent = await pay(sdk, capture_method="manual")
    assert_conforms(stripe.PaymentIntent, intent.to_dict())
    captured = await sdk.v1.payment_intents.capture_async(
        intent.id, {"amount_to_capture": 100, "expand": ["latest_charge.refunds"]}
    )
    assert_conforms(stripe.PaymentIntent, captured.to_dict())
    for event in (await sdk.v1.events.list_async({"limit": 8})).data:
        assert_conforms(stripe.Event, event.to_dict())


async def test_expanded_lists_conform_too(sdk: stripe.StripeClient) -> None:
    await pay(sdk)
    listed = await sdk.v1.payment_intents.list_async({"expand": ["data.latest_charge.refunds"]})
    assert listed.data[0].latest_charge
    assert_conforms(stripe.PaymentIntent, listed.data[0].to_dict())


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
