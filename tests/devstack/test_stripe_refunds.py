"""Refunds at the Stripe stand-in: by the real SDK, and in the dashboard."""

import pytest
import stripe

from tests.support.stand_in_process import StandIns
from tests.support.stripe_customer import events_about, pay


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


async def test_a_refund_in_the_dashboard_is_one_like_any_other(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    intent = await pay(sdk)
    made = await stand_ins.control(
        "stripe", f"payment_intents/{intent.id}/refunds", {"amount": 500}
    )
    refund = await sdk.v1.refunds.retrieve_async(made["id"], {"expand": ["balance_transaction"]})
    assert (refund.status, refund.amount, refund.payment_intent) == ("succeeded", 500, intent.id)
    assert isinstance(refund.balance_transaction, stripe.BalanceTransaction)
    assert (refund.balance_transaction.amount, refund.balance_transaction.fee) == (-500, 0)
    assert (await events_about(sdk, intent.id))[3:] == ["refund.created", "charge.refunded"]


@pytest.mark.parametrize(
    ("first", "then", "events"),
    [
        ("pending", "succeeded", ["refund.updated", "charge.refund.updated"]),
        ("pending", "failed", ["refund.updated", "refund.failed", "charge.refund.updated"]),
        ("succeeded", "failed", ["refund.updated", "refund.failed", "charge.refund.updated"]),
        ("requires_action", "canceled", ["refund.updated", "charge.refund.updated"]),
    ],
)
async def test_a_refund_may_wait_and_may_fail_even_after_it_has_succeeded(
    sdk: stripe.StripeClient,
    stand_ins: StandIns,
    *,
    first: str,
    then: str,
    events: list[str],
) -> None:
    intent = await pay(sdk)
    path = f"payment_intents/{intent.id}/refunds"
    made = await stand_ins.control("stripe", path, {"status": first})
    assert (made["status"], made["balance_transaction"] is None) == (first, first != "succeeded")
    after = await stand_ins.control("stripe", f"refunds/{made['id']}", {"status": then})
    undone = then != "succeeded"
    assert (after["status"], "failure_reason" in after) == (then, undone)
    assert ("failure_balance_transaction" in after) is (first == "succeeded")
    charge = await sdk.v1.charges.retrieve_async(made["charge"])
    assert (charge.amount_refunded, charge.refunded) == (0 if undone else 5000, not undone)
    assert (await events_about(sdk, intent.id))[5:] == events


async def test_a_refund_that_has_failed_stays_failed(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    intent = await pay(sdk)
    made = await stand_ins.control("stripe", f"payment_intents/{intent.id}/refunds")
    await stand_ins.control("stripe", f"refunds/{made['id']}", {"status": "failed"})
    path = f"/_control/refunds/{made['id']}"
    assert (await stand_ins.stripe.post(path, json={"status": "succeeded"})).status_code == 400
    again = await sdk.v1.refunds.create_async({"payment_intent": intent.id})
    assert (again.status, again.amount) == ("succeeded", 5000)


async def test_only_what_was_paid_can_be_refunded(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    intent = await pay(sdk, confirm=None, off_session=None)
    path = f"/_control/payment_intents/{intent.id}/refunds"
    assert (await stand_ins.stripe.post(path)).status_code == 400
    with pytest.raises(stripe.InvalidRequestError, match="successful charge"):
        await sdk.v1.refunds.create_async({"payment_intent": intent.id})
