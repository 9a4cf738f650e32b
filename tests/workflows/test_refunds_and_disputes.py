"""What goes back from a payment, through the payment's process and a Stripe over HTTP."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.payments.payment import Settlement
from tests.support.eventually import eventually
from tests.support.factories import an_organization, balance_of, entries_of, keys_of
from tests.support.parked_workflows import attributes, discard, ended, page, until_parked
from tests.support.stand_ins import SlackStandIn, StripeStandIn
from tests.workflows.test_settle_payment import hear, hint_about


async def settle(worker: Client, payment_id: str) -> Settlement:
    settlement = await ended(await hear(worker, hint_about(payment_id)))
    assert settlement is not None
    return settlement


@pytest.mark.parametrize("looked_before", [True, False])
async def test_refunds_take_from_the_wallet_whoever_made_them(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn, *, looked_before: bool
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    payment_id = await stripe.payment(org_id, 2500)
    if looked_before:
        await settle(worker, payment_id)
    part = await stripe.refund(payment_id, amount=900)
    rest = await stripe.refund(payment_id, status="pending")
    await settle(worker, payment_id)
    assert sorted(await keys_of(engine, org_id)) == sorted(
        [f"payment:{payment_id}:credit", f"refund:{part}", f"refund:{rest}"]
    )
    assert await balance_of(engine, org_id) == 0


@pytest.mark.parametrize("seen", [["pending", "succeeded"], ["pending"], ["succeeded"], []])
async def test_a_refund_that_failed_leaves_the_same_two_entries_whatever_was_seen_of_it(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn, seen: list[str]
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    refund = await stripe.refund(payment_id, amount=1000, status="pending")
    for status in ("pending", "succeeded", "failed"):
        if status != "pending":
            await stripe.refund_becomes(refund, status)
        if status in [*seen, "failed"]:
            await settle(worker, payment_id)
    assert await keys_of(engine, org_id) == [
        f"payment:{payment_id}:credit",
        f"refund:{refund}",
        f"refund:{refund}:reversal",
    ]
    assert await balance_of(engine, org_id) == 2500


FORMAL = "needs_response"
INQUIRY = "warning_needs_response"


@pytest.mark.parametrize(
    ("opened", "then", "balance"),
    [
        ({"status": INQUIRY}, [], 2500),
        ({"status": INQUIRY}, ["warning_under_review"], 2500),
        ({"status": INQUIRY}, ["warning_closed"], 2500),
        ({"status": INQUIRY}, [FORMAL], 0),
        ({"status": FORMAL, "withdraws": False}, [], 2500),
        ({"status": FORMAL}, [], 0),
        ({"status": FORMAL}, ["under_review"], 0),
        ({"status": FORMAL}, ["lost"], 0),
        ({"status": FORMAL}, ["won"], 2500),
        ({"status": FORMAL}, ["won", "appeal_needs_response"], 2500),
        ({"status": FORMAL}, ["won", "appeal_under_review", "lost"], 0),
        ({"status": FORMAL}, ["lost", "appeal_needs_response", "won"], 2500),
        ({"status": "prevented"}, [], 2500),
        ({"status": "prevented", "withdraws": True}, [], 0),
        ({"status": FORMAL, "amount": 1000}, ["lost"], 1500),
    ],
)
async def test_a_dispute_takes_what_stripe_withdrew_and_gives_back_what_it_reinstated(
    worker: Client,
    engine: AsyncEngine,
    stripe: StripeStandIn,
    *,
    opened: dict[str, Any],
    then: list[str],
    balance: int,
) -> None:
    """In each status, and the same whether every state was seen or only the last one."""
    seen, unseen = [await an_organization(engine, debt_limit_minor=0) for _ in range(2)]
    entries = []
    for org_id in (seen, unseen):
        payment_id = await stripe.payment(org_id, 2500)
        dispute = await stripe.dispute(payment_id, **opened)
        for status in then:
            if org_id == seen:
                await settle(worker, payment_id)
            await stripe.dispute_becomes(dispute, status)
        await settle(worker, payment_id)
        assert await balance_of(engine, org_id) == balance
        keys = await keys_of(engine, org_id)
        entries.append({key.replace(payment_id, "pi").replace(dispute, "du") for key in keys})
    assert entries[0] == entries[1]


async def test_a_dispute_goes_through_an_account_of_its_own_and_its_reversal_names_it(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    dispute = await stripe.dispute(payment_id)
    await stripe.dispute_becomes(dispute, "won", amount=2000)
    await settle(worker, payment_id)
    wallet, key = f"wallet:{org_id}", f"dispute:{dispute}"
    shown = [
        (one.key, one.debit_account, one.credit_account, one.amount.amount_minor, one.reverses)
        for one in await entries_of(engine, org_id)
    ]
    assert shown == [
        (f"payment:{payment_id}:credit", "stripe", wallet, 2500, None),
        (key, wallet, "disputes", 2500, None),
        (f"{key}:reversal", "disputes", wallet, 2000, key),
    ]


async def test_a_payment_that_succeeds_after_two_declines_is_credited_once(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500, card="pm_card_chargeDeclined")
    await settle(worker, payment_id)
    await stripe.confirm(payment_id, "pm_card_chargeDeclinedInsufficientFunds")
    await stripe.confirm(payment_id)
    for _ in range(2):
        await settle(worker, payment_id)
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit"]
    assert await balance_of(engine, org_id) == 2500


async def test_a_capture_in_part_credits_what_was_captured_and_its_rest_is_no_refund(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500, capture="manual")
    assert (await settle(worker, payment_id)).postings == ()
    await stripe.capture(payment_id, 1700)
    await settle(worker, payment_id)
    assert await balance_of(engine, org_id) == 1700
    refund = await stripe.refund(payment_id)
    await settle(worker, payment_id)
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit", f"refund:{refund}"]
    assert await balance_of(engine, org_id) == 0


async def test_a_refund_of_a_payment_that_is_parked_posts_nothing(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2000, amount_minor="2500")
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "amount_mismatch")
    await stripe.refund(payment_id)
    await hear(worker, hint_about(payment_id))
    assert (await discard(handle, "Ann: refunded it")).state == "discarded"
    assert await keys_of(engine, org_id) == []


async def test_a_dispute_in_another_currency_parks_when_all_else_is_posted(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    refund = await stripe.refund(payment_id, amount=500)
    await stripe.dispute(payment_id, currency="usd")
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "dispute_currency_mismatch")
    assert f"A dispute of {payment_id} has moved money" in await page(handle)
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit", f"refund:{refund}"]
    assert (await discard(handle, "Ann: agreed with the customer")).state == "discarded"


async def test_refunds_and_disputes_of_another_product_are_left_alone(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500, type="subscription")
    await stripe.refund(payment_id, amount=500)
    await stripe.dispute(payment_id)
    assert (await settle(worker, payment_id)).ignored
    assert await keys_of(engine, org_id) == []


async def test_a_refund_and_a_dispute_follow_the_credit_though_the_payment_was_edited_since(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn, slack: SlackStandIn
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    payment_id = await stripe.payment(one, 2500)
    await settle(worker, payment_id)
    await stripe.edit(payment_id, await stripe.customer(), org_id=other, type="subscription")
    await stripe.refund(payment_id, amount=1000)
    handle = await hear(worker, hint_about(payment_id))
    assert await ended(handle)
    assert await attributes(handle) == ("settled", None, one, 2500)
    await stripe.dispute(payment_id, amount=700)
    await settle(worker, payment_id)
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (800, 0)

    async def told() -> list[dict[str, Any]]:
        return await slack.messages(payment_id)

    [message] = await eventually(told)
    assert "organization, type" in str(message)


async def test_a_payment_that_was_given_up_is_not_parked_again_by_its_refund(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2000, amount_minor="2500")
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "amount_mismatch")
    assert (await discard(handle, "Ann: I refund it in Stripe")).state == "discarded"
    await stripe.refund(payment_id)
    again = await hear(worker, hint_about(payment_id))
    settlement = await ended(again)
    assert settlement is not None
    assert settlement.given_up
    assert await attributes(again) == ("discarded", None, org_id, 2000)
    assert await keys_of(engine, org_id) == []


async def test_a_refund_that_comes_after_a_dispute_was_given_up_is_posted(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    payment_id = await stripe.payment(org_id, 2500)
    await stripe.dispute(payment_id, currency="usd")
    handle = await hear(worker, hint_about(payment_id))
    await until_parked(handle, "dispute_currency_mismatch")
    assert (await discard(handle, "Ann: agreed with the customer")).state == "discarded"
    refund = await stripe.refund(payment_id, amount=500)
    again = await hear(worker, hint_about(payment_id))
    await until_parked(again, "dispute_currency_mismatch")
    assert await keys_of(engine, org_id) == [f"payment:{payment_id}:credit", f"refund:{refund}"]
    assert (await discard(again, "Ann: agreed before")).state == "discarded"
