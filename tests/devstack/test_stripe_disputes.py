"""Disputes at the Stripe stand-in: what they take, and what they give back."""

from typing import Any

import pytest
import stripe

from tests.support.stand_in_process import StandIns
from tests.support.stripe_customer import events_about, pay

CREATED, UPDATED, CLOSED, WITHDRAWN, REINSTATED = (
    f"charge.dispute.{name}"
    for name in ("created", "updated", "closed", "funds_withdrawn", "funds_reinstated")
)


async def dispute(stand_ins: StandIns, payment_id: str, **how: Any) -> Any:
    return await stand_ins.control("stripe", f"payment_intents/{payment_id}/disputes", how)


async def become(stand_ins: StandIns, made: Any, status: str, **how: Any) -> Any:
    return await stand_ins.control("stripe", f"disputes/{made['id']}", {"status": status, **how})


def moved(shown: Any) -> list[tuple[int, int]]:
    """What was moved, and the fee for it."""
    return [(one["amount"], one["fee"]) for one in shown["balance_transactions"]]


@pytest.mark.parametrize(
    ("opened", "then", "movements", "events"),
    [
        ({}, [], [(-5000, 2000)], [CREATED, WITHDRAWN]),
        ({"amount": 900}, ["lost"], [(-900, 2000)], [CREATED, WITHDRAWN, CLOSED]),
        (
            {},
            ["under_review", "won"],
            [(-5000, 2000), (5000, 0)],
            [CREATED, WITHDRAWN, UPDATED, CLOSED, REINSTATED],
        ),
        (
            {},
            ["won", "appeal_under_review", "lost"],
            [(-5000, 2000), (5000, 0), (-5000, 2000)],
            [CREATED, WITHDRAWN, CLOSED, REINSTATED, UPDATED, CLOSED, WITHDRAWN],
        ),
        (
            {"status": "warning_needs_response"},
            ["warning_under_review", "warning_closed"],
            [],
            [CREATED, UPDATED, CLOSED],
        ),
        (
            {"status": "warning_needs_response"},
            ["needs_response"],
            [(-5000, 2000)],
            [CREATED, UPDATED, WITHDRAWN],
        ),
        ({"status": "prevented"}, [], [], [CREATED]),
        ({"status": "prevented", "withdraws": True}, [], [(-5000, 2000)], [CREATED, WITHDRAWN]),
    ],
)
async def test_a_dispute_moves_money_and_tells_of_it(
    sdk: stripe.StripeClient,
    stand_ins: StandIns,
    *,
    opened: dict[str, Any],
    then: list[str],
    movements: list[tuple[int, int]],
    events: list[str],
) -> None:
    intent = await pay(sdk)
    shown = await dispute(stand_ins, intent.id, **opened)
    for status in then:
        shown = await become(stand_ins, shown, status)
    found = await sdk.v1.disputes.retrieve_async(shown["id"])
    assert (found.status, moved(found.to_dict())) == (shown["status"], movements)
    assert (found.payment_intent, found.charge) == (intent.id, intent.latest_charge)
    assert (await sdk.v1.charges.retrieve_async(intent.latest_charge)).disputed
    assert (await events_about(sdk, intent.id))[3:] == events


async def test_what_is_given_back_may_be_less_or_nothing(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    partly = await dispute(stand_ins, (await pay(sdk)).id)
    assert moved(await become(stand_ins, partly, "won", amount=4000))[1:] == [(4000, 0)]
    unmoved = await dispute(stand_ins, (await pay(sdk)).id)
    assert moved(await become(stand_ins, unmoved, "won", moves_funds=False))[1:] == []


async def test_a_dispute_takes_no_step_that_there_is_not(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    inquiry = await dispute(stand_ins, (await pay(sdk)).id, status="warning_needs_response")
    path = f"/_control/disputes/{inquiry['id']}"
    assert (await stand_ins.stripe.post(path, json={"status": "won"})).status_code == 400
    unpaid = await pay(sdk, confirm=None, off_session=None)
    path = f"/_control/payment_intents/{unpaid.id}/disputes"
    assert (await stand_ins.stripe.post(path)).status_code == 400


async def test_disputes_are_listed_by_payment_by_charge_and_by_time(
    sdk: stripe.StripeClient, stand_ins: StandIns
) -> None:
    intent, other = await pay(sdk), await pay(sdk)
    made = [(await dispute(stand_ins, intent.id, amount=1000))["id"] for _ in range(3)]
    await dispute(stand_ins, other.id)
    by_payment = await sdk.v1.disputes.list_async({"payment_intent": intent.id, "limit": 2})
    assert [one.id async for one in by_payment.auto_paging_iter()] == made[::-1]
    by_charge = await sdk.v1.disputes.list_async({"charge": intent.latest_charge})
    assert [one.id for one in by_charge.data] == made[::-1]
    later = by_payment.data[0].created + 3600
    assert (await sdk.v1.disputes.list_async({"created": {"gte": later}})).data == []
    listed = await sdk.v1.disputes.list_async({"created": {"lt": later}, "limit": 100})
    assert set(made) < {one.id for one in listed.data}


async def test_every_list_can_be_cut_by_time(sdk: stripe.StripeClient, stand_ins: StandIns) -> None:
    early = await pay(sdk)
    await sdk.v1.refunds.create_async({"payment_intent": early.id})
    await stand_ins.control("stripe", "clock", {"advance_seconds": 3600})
    late = await pay(sdk)
    refund = await sdk.v1.refunds.create_async({"payment_intent": late.id})
    since: Any = {"created": {"gt": early.created + 1800}}
    intents = await sdk.v1.payment_intents.list_async(since)
    assert [one.id for one in intents.data] == [late.id]
    assert [one.id for one in (await sdk.v1.charges.list_async(since)).data] == [late.latest_charge]
    assert [one.id for one in (await sdk.v1.refunds.list_async(since)).data] == [refund.id]
