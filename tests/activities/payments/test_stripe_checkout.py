"""Customers and sessions at Stripe: one, whatever its answers say, and however old the trouble."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import stripe as sdk
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.payments.payments import FetchedPayment, PaymentActivities
from activities.payments.stripe import StripeActivities
from activities.payments.stripe_checkout import SessionOrder, StripeCheckout
from activities.payments.stripe_customers import StripeCustomers
from billing.errors import NotFound
from billing.ledger.entry import payment_credit_key
from billing.ledger.money import Currency, Money
from billing.payments.checkout import CheckoutSession, NewCheckout
from billing.platform_rules import PlatformRules
from billing.recharges.attempt import Card
from store.ledger import ledger, wallets
from store.payments import customers
from store.recharges import recharges
from store.schema import former_customers, organizations, stripe_customers
from tests.support.factories import NOON, an_organization, balance_of, credit_of, unique
from tests.support.recharged_payers import a_payer
from tests.support.stand_ins import StripeStandIn
from wiring import Clients

CUSTOMERS, SESSIONS = "/v1/customers", "/v1/checkout/sessions"
STORED = {"kind": "status_after", "status": 500, "stored": True}


@pytest.fixture
async def stripe(stripe: StripeStandIn) -> AsyncIterator[StripeStandIn]:
    yield stripe
    await stripe.behave()


async def customer_of(clients: Clients, org_id: str) -> str:
    activity = StripeCustomers(clients.engine, clients.stripe).customer_of
    return await ActivityEnvironment().run(activity, org_id)


async def order_of(clients: Clients, org_id: str) -> SessionOrder:
    page = "https://app.example/wallet"
    wanted = NewCheckout(org_id, Money(2500, Currency.GBP), page, page)
    customer_id = await customer_of(clients, org_id)
    return SessionOrder(wanted, customer_id, f"checkout/{org_id}/2500", unique("checkout"))


async def open_session(clients: Clients, order: SessionOrder) -> CheckoutSession:
    return await ActivityEnvironment().run(StripeCheckout(clients.stripe).open_session, order)


async def forget(engine: AsyncEngine, org_id: str) -> None:
    """Delete the row, as operators are told to."""
    async with engine.begin() as connection:
        await connection.execute(
            delete(stripe_customers).where(stripe_customers.c.org_id == org_id)
        )


async def lose(engine: AsyncEngine, org_id: str) -> None:
    """Lose the row without a trace, as a restored database would."""
    await forget(engine, org_id)
    async with engine.begin() as connection:
        gone = delete(former_customers).where(former_customers.c.org_id == org_id)
        await connection.execute(gone)


async def delete_customer(stripe: StripeStandIn, customer_id: str) -> None:
    (await stripe.http.delete(f"{CUSTOMERS}/{customer_id}")).raise_for_status()


async def test_an_organisation_is_one_customer_that_is_kept(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await customer_of(clients, org_id)
    assert await customer_of(clients, org_id) == first
    assert await stripe.customers(org_id) == [first]
    async with engine.connect() as connection:
        assert await customers.customer_of(connection, org_id) == first


@pytest.mark.parametrize("by", ["a payment", "an attempt"])
async def test_a_row_that_was_lost_is_found_again_by_what_is_recorded_without_any_search(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn, by: str
) -> None:
    payer = await a_payer(engine, stripe)
    if by == "a payment":
        paid = await stripe.payment(payer.org_id, 2500)
        await stripe.edit(paid, customer=payer.customer_id)
        async with engine.begin() as connection:
            await ledger.post(connection, [credit_of(payer.org_id, 2500, payment_credit_key(paid))])
    else:
        async with engine.begin() as connection:
            await wallets.lock(connection, [payer.org_id])
            card, fifty = Card(payer.customer_id, payer.card_id, "f"), Money(5000, Currency.GBP)
            await recharges.write_down(connection, payer.org_id, fifty, card, NOON)
    await lose(engine, payer.org_id)
    assert await customer_of(clients, payer.org_id) == payer.customer_id
    assert await stripe.customers(payer.org_id) == []


async def test_a_customer_that_says_it_is_somebody_else_is_not_taken_for_theirs(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    payer = await a_payer(engine, stripe)
    path = f"{CUSTOMERS}/{payer.customer_id}"
    (await stripe.http.post(path, data={"metadata[org_id]": "another"})).raise_for_status()
    async with engine.begin() as connection:
        await wallets.lock(connection, [payer.org_id])
        card, fifty = Card(payer.customer_id, payer.card_id, "f"), Money(5000, Currency.GBP)
        await recharges.write_down(connection, payer.org_id, fifty, card, NOON)
    await lose(engine, payer.org_id)
    assert await customer_of(clients, payer.org_id) != payer.customer_id


async def test_a_customer_that_was_deleted_at_stripe_is_replaced_within_the_life_of_its_key(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    was = [await customer_of(clients, org_id)]
    for _ in range(3):
        await delete_customer(stripe, was[-1])
        was.append(await customer_of(clients, org_id))
    assert len(set(was)) == 4
    assert await stripe.customers(org_id) == [was[-1]]
    async with engine.connect() as connection:
        assert await customers.former(connection, org_id) == set(was[:-1])


async def test_a_deleted_customer_whose_row_is_deleted_by_hand_is_replaced_too(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await customer_of(clients, org_id)
    await delete_customer(stripe, first)
    await forget(engine, org_id)
    second = await customer_of(clients, org_id)
    assert second != first
    assert await stripe.customers(org_id) == [second]


async def test_a_customer_of_another_account_is_nobody_s_to_forget_but_a_persons(
    clients: Clients, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    async with engine.begin() as connection:
        await customers.remember(connection, org_id, unique("cus"))
    with pytest.raises(sdk.InvalidRequestError, match="No such customer"):
        await customer_of(clients, org_id)
    await forget(engine, org_id)
    assert (await customer_of(clients, org_id)).startswith("cus_")


async def test_an_organisation_that_was_renamed_within_the_life_of_its_key_gets_a_customer(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await delete_customer(stripe, await customer_of(clients, org_id))
    async with engine.begin() as connection:
        named = update(organizations).where(organizations.c.org_id == org_id)
        await connection.execute(named.values(name="Another name"))
    assert [await customer_of(clients, org_id)] == await stripe.customers(org_id)


async def test_an_order_that_failed_for_its_customer_is_opened_for_the_one_that_comes_instead(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    order = await order_of(clients, org_id)
    await delete_customer(stripe, order.customer_id)
    with pytest.raises(sdk.InvalidRequestError, match="No such customer"):
        await open_session(clients, order)
    mended = replace(order, customer_id=await customer_of(clients, org_id))
    first = await open_session(clients, mended)
    assert await open_session(clients, mended) == first


async def test_what_a_former_customer_has_begun_to_pay_is_credited(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await customer_of(clients, org_id)
    paid = await stripe.payment(org_id, 2500)
    await stripe.edit(paid, customer=first)
    await delete_customer(stripe, first)
    await customer_of(clients, org_id)
    payment = await ActivityEnvironment().run(StripeActivities(clients.stripe).fetch_payment, paid)
    settling = PaymentActivities(engine, PlatformRules()).settle_payment
    settled = await ActivityEnvironment().run(settling, FetchedPayment(payment))
    assert (settled.mismatch, await balance_of(engine, org_id)) == (None, 2500)


async def test_a_row_that_was_lost_at_once_is_found_again_by_its_key(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await customer_of(clients, org_id)
    await lose(engine, org_id)
    assert await customer_of(clients, org_id) == first
    assert await stripe.customers(org_id) == [first]


async def test_a_stored_failure_of_a_customer_that_was_made_leads_to_that_customer(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    await stripe.posts_misbehave(CUSTOMERS, **STORED)
    with pytest.raises(sdk.APIError):
        await customer_of(clients, org_id)
    assert [await customer_of(clients, org_id)] == await stripe.customers(org_id)


async def test_an_organisation_that_does_not_exist_gets_no_customer(
    clients: Clients, stripe: StripeStandIn
) -> None:
    nobody = unique("org")
    with pytest.raises(NotFound):
        await customer_of(clients, nobody)
    assert await stripe.customers(nobody) == []


async def test_the_same_order_is_the_same_session_and_another_key_is_another(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    order, another = [await order_of(clients, org_id) for _ in "ab"]
    first = await open_session(clients, order)
    assert await open_session(clients, order) == first
    assert (await open_session(clients, another)).session_id != first.session_id


async def test_a_stored_failure_that_hides_nothing_is_passed_by_with_the_same_next_key_each_time(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    order = await order_of(clients, org_id)
    await stripe.posts_misbehave(SESSIONS, **STORED)
    await stripe.posts_misbehave(SESSIONS, **STORED, spare=1)
    for _ in "ab":
        with pytest.raises(sdk.APIError):
            await open_session(clients, order)
        newest, *_ = await stripe.sessions(org_id)
        await stripe.expire(newest["id"])
    third = await open_session(clients, order)
    assert await open_session(clients, order) == third
    assert [one["status"] for one in await stripe.sessions(org_id)] == ["open"] + 2 * ["expired"]
