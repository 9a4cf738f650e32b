"""Payments and checkouts that park: what operators are told to do settles them."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from billing.ledger.entry import payment_credit_key
from billing.payments.payment import payment_workflow_id
from store.payments import customers
from tests.support.advice import decide, handle, until_balance, walks
from tests.support.api_server import Api
from tests.support.checkout_clicks import bringing_events, click, opened
from tests.support.factories import an_organization, balance_of, keys_of, unique
from tests.support.parked_workflows import ended, until_parked
from tests.support.repository import OPERATIONS, section
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import World


@pytest.fixture(autouse=True)
async def behaving(stripe: StripeStandIn) -> AsyncIterator[None]:
    yield
    await stripe.behave()


async def parked(
    api: Api, stripe: StripeStandIn, reason: str, org_id: str | None, **told: Any
) -> str:
    """Have a payment of 25.00 heard of that parks for a reason; return the payment's id."""
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(org_id, 2500, **told)
    await until_parked(handle(api, payment_workflow_id(payment_id)), reason)
    return payment_id


async def credited(api: Api, org_id: str, payment_id: str) -> None:
    assert await keys_of(api.engine, org_id) == [payment_credit_key(payment_id)]
    assert await balance_of(api.engine, org_id) == 2500


async def refund_and_discard(api: Api, stripe: StripeStandIn, payment_id: str) -> None:
    async with bringing_events(api, stripe):
        await stripe.refund(payment_id)
    workflow_id = payment_workflow_id(payment_id)
    assert await decide(api, workflow_id, "discard") == "discarded"
    await ended(handle(api, workflow_id))


@walks("payment_missing")
async def test_a_payment_of_another_account_is_found_when_the_key_is_mended(
    api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(api.engine)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(org_id, 2500)
        await stripe.misbehave(payment_id, kind="status", status=404, times=None)
    await until_parked(handle(api, payment_workflow_id(payment_id)), "payment_missing")
    await stripe.behave()
    assert await decide(api, payment_workflow_id(payment_id), "reprocess") == "settled"
    await credited(api, org_id, payment_id)


@walks("payment_missing")
async def test_a_payment_that_is_not_ours_is_discarded(api: Api, stripe: StripeStandIn) -> None:
    org_id = await an_organization(api.engine)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(org_id, 2500)
        await stripe.misbehave(payment_id, kind="status", status=404, times=None)
    await until_parked(handle(api, payment_workflow_id(payment_id)), "payment_missing")
    assert await decide(api, payment_workflow_id(payment_id), "discard") == "discarded"
    assert await keys_of(api.engine, org_id) == []


@walks("unknown_organization")
@pytest.mark.parametrize("how", ["it is created", "the metadata are corrected", "it is refunded"])
async def test_a_payment_of_nobody(api: Api, stripe: StripeStandIn, how: str) -> None:
    org_id = unique("org")
    payment_id = await parked(api, stripe, "unknown_organization", org_id)
    if how == "it is refunded":
        await refund_and_discard(api, stripe, payment_id)
        return
    if how == "it is created":
        new = {"org_id": org_id, "name": "They", "currency": "gbp"}
        assert (await api.operator.post("/v1/organizations", json=new)).status_code == 201
    else:
        org_id = await an_organization(api.engine)
        await stripe.edit(payment_id, org_id=org_id)
    assert await decide(api, payment_workflow_id(payment_id), "reprocess") == "settled"
    await credited(api, org_id, payment_id)


@walks("organization_mismatch")
async def test_a_payment_that_names_two_organisations(api: Api, stripe: StripeStandIn) -> None:
    one, other = await an_organization(api.engine), await an_organization(api.engine)
    async with bringing_events(api, stripe):
        payment_id = await stripe.checkout(one, 2500, type="wallet_topup", org_id=other)
    await until_parked(handle(api, payment_workflow_id(payment_id)), "organization_mismatch")
    await stripe.edit(payment_id, org_id=one)
    assert await decide(api, payment_workflow_id(payment_id), "reprocess") == "settled"
    await credited(api, one, payment_id)


async def paid_by_another(api: Api, stripe: StripeStandIn) -> tuple[str, str, str]:
    """A payment that names one organisation and was paid by another's customer."""
    named, payer = await an_organization(api.engine), await an_organization(api.engine)
    theirs = {org_id: await stripe.customer() for org_id in (named, payer)}
    async with api.engine.begin() as connection:
        for org_id, customer_id in theirs.items():
            await customers.remember(connection, org_id, customer_id)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(named, 2500)
        await stripe.edit(payment_id, customer=theirs[payer])
    await until_parked(handle(api, payment_workflow_id(payment_id)), "customer_mismatch")
    return named, payer, payment_id


@walks("customer_mismatch")
@pytest.mark.parametrize("how", ["it is corrected", "it is refunded", "it is adjusted"])
async def test_a_payment_by_somebody_else(api: Api, stripe: StripeStandIn, how: str) -> None:
    named, payer, payment_id = await paid_by_another(api, stripe)
    workflow_id = payment_workflow_id(payment_id)
    if how == "it is corrected":
        await stripe.edit(payment_id, org_id=payer)
        assert await decide(api, workflow_id, "reprocess") == "settled"
        await credited(api, payer, payment_id)
    elif how == "it is refunded":
        await refund_and_discard(api, stripe, payment_id)
    else:
        assert await decide(api, workflow_id, "discard") == "discarded"
        await adjust(api, named, "credit")
        assert await balance_of(api.engine, named) == 2500


async def adjust(api: Api, org_id: str, direction: str) -> None:
    given = {"direction": direction, "amount_minor": 2500, "currency": "gbp", "reason": "By hand"}
    answer = await api.operator.post(
        f"/v1/organizations/{org_id}/adjustments",
        json=given,
        headers={"Idempotency-Key": unique("ticket")},
    )
    assert answer.is_success, answer.text


@walks("currency_mismatch")
async def test_a_payment_in_another_currency(api: Api, stripe: StripeStandIn) -> None:
    org_id = await an_organization(api.engine)
    payment_id = await parked(api, stripe, "currency_mismatch", org_id, currency="usd")
    await refund_and_discard(api, stripe, payment_id)
    assert await keys_of(api.engine, org_id) == []


@walks("amount_mismatch")
@pytest.mark.parametrize("how", ["it is corrected", "it is refunded"])
async def test_a_payment_of_another_amount(api: Api, stripe: StripeStandIn, how: str) -> None:
    org_id = await an_organization(api.engine)
    payment_id = await parked(api, stripe, "amount_mismatch", org_id, amount_minor="2400")
    if how == "it is refunded":
        await refund_and_discard(api, stripe, payment_id)
        assert await keys_of(api.engine, org_id) == []
        return
    await stripe.edit(payment_id, amount_minor="2500")
    assert await decide(api, payment_workflow_id(payment_id), "reprocess") == "settled"
    await credited(api, org_id, payment_id)


@walks("dispute_currency_mismatch")
async def test_a_dispute_in_another_currency(api: Api, stripe: StripeStandIn) -> None:
    org_id = await an_organization(api.engine)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(org_id, 2500)
    await until_balance(api, org_id, 2500)
    async with bringing_events(api, stripe):
        await stripe.dispute(payment_id, currency="usd", amount=3000)
    workflow_id = payment_workflow_id(payment_id)
    await until_parked(handle(api, workflow_id), "dispute_currency_mismatch")
    await adjust(api, org_id, "debit")
    assert await decide(api, workflow_id, "discard") == "discarded"
    assert await balance_of(api.engine, org_id) == 0


@walks("fault")
@pytest.mark.parametrize("how", ["by itself", "reprocess"])
async def test_a_payment_that_stripe_did_not_answer_for(
    world: World, api: Api, stripe: StripeStandIn, how: str
) -> None:
    org_id = await an_organization(api.engine)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(org_id, 2500)
        await stripe.misbehave(payment_id, kind="status", status=500, times=3)
    await goes_on(world, api, payment_id, "fault", how)
    await until_balance(api, org_id, 2500)


async def goes_on(world: World, api: Api, payment_id: str, reason: str, how: str) -> None:
    """Have a parked payment tried again, by a person or by itself."""
    payment = handle(api, payment_workflow_id(payment_id))
    await until_parked(payment, reason)
    if how == "reprocess":
        assert await decide(api, payment.id, "reprocess") == "settled"
    else:
        await world.let_pass(payment, timedelta(minutes=1))


@walks("fault")
@pytest.mark.parametrize("how", ["the next request", "reprocess"])
async def test_a_checkout_whose_customer_stripe_does_not_know_by_the_statement_in_the_document(
    api: Api, stripe: StripeStandIn, how: str
) -> None:
    org_id = await an_organization(api.engine)
    async with api.engine.begin() as connection:
        await customers.remember(connection, org_id, unique("cus"))
    assert (await click(api.operator, org_id)).status_code == 503
    workflow_id = f"checkout/{org_id}/2500"
    await until_parked(handle(api, workflow_id), "fault")
    [statement] = re.findall(r"```sql\n(.*?)```", section(OPERATIONS, "### Checkout"), re.DOTALL)
    async with api.engine.begin() as connection:
        await connection.execute(text(statement.replace("acme", org_id)))
    if how == "reprocess":
        await decide(api, workflow_id, "reprocess")
    session = await opened(api.operator, org_id)
    async with bringing_events(api, stripe):
        await stripe.pay(session["session_id"])
    await until_balance(api, org_id, 2500)


@walks("fault")
async def test_a_checkout_whose_customer_was_deleted_while_it_was_parked_opens_within_the_day(
    api: Api, stripe: StripeStandIn
) -> None:
    """The key of the customer, and that of the session, stand for the one that is deleted."""
    org_id = await an_organization(api.engine)
    first = await opened(api.operator, org_id, 3000)
    [customer_id] = await stripe.customers(org_id)
    await stripe.posts_misbehave("/v1/checkout/sessions", kind="status", status=500, times=3)
    assert (await click(api.operator, org_id)).status_code == 503
    await until_parked(handle(api, f"checkout/{org_id}/2500"), "fault")
    (await stripe.http.delete(f"/v1/customers/{customer_id}")).raise_for_status()
    session = await opened(api.operator, org_id)
    assert session["session_id"] != first["session_id"]
    async with bringing_events(api, stripe):
        await stripe.pay(session["session_id"])
    await until_balance(api, org_id, 2500)


@walks("key_refused")
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("how", ["by itself", "reprocess"])
async def test_a_payment_while_stripe_refuses_the_key(
    world: World, api: Api, stripe: StripeStandIn, how: str, *, status: int
) -> None:
    org_id = await an_organization(api.engine)
    async with bringing_events(api, stripe):
        payment_id = await stripe.payment(org_id, 2500)
        await stripe.misbehave(payment_id, kind="status", status=status)
    await goes_on(world, api, payment_id, "key_refused", how)
    await until_balance(api, org_id, 2500)


@walks("key_refused")
@pytest.mark.parametrize("path", ["/v1/customers", "/v1/checkout/sessions"])
async def test_a_checkout_while_stripe_refuses_the_key(
    api: Api, stripe: StripeStandIn, path: str
) -> None:
    org_id = await an_organization(api.engine)
    await stripe.posts_misbehave(path, kind="status", status=401)
    assert (await click(api.operator, org_id)).status_code == 503
    await until_parked(handle(api, f"checkout/{org_id}/2500"), "key_refused")
    assert (await opened(api.operator, org_id))["status"] == "open"
