"""Customers and sessions at Stripe: one, whatever its answers say, and however old the trouble."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import stripe as sdk
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.stripe_checkout import SessionOrder, StripeCheckout
from activities.stripe_customers import StripeCustomers
from billing.checkout import CheckoutSession, NewCheckout
from billing.errors import NotFound
from billing.money import Currency, Money
from devstack.providers.stripe_customers import SEARCHABLE_AFTER_SECONDS
from store import customers
from store.schema import stripe_customers
from tests.factories import an_organization, unique
from tests.stand_ins import StripeStandIn
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
    """Lose the row, as a restored database would."""
    async with engine.begin() as connection:
        await connection.execute(
            delete(stripe_customers).where(stripe_customers.c.org_id == org_id)
        )


async def test_an_organisation_is_one_customer_that_is_kept(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await customer_of(clients, org_id)
    assert await customer_of(clients, org_id) == first
    assert await stripe.customers(org_id) == [first]
    async with engine.connect() as connection:
        assert await customers.customer_of(connection, org_id) == first


async def test_a_row_that_was_lost_is_found_again_at_stripe(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    lost, lower = [await an_organization(engine) for _ in "ab"]
    for org_id in (lost, lost, lower.upper()):
        await stripe.http.post(CUSTOMERS, data={"metadata[org_id]": org_id})
    made = await stripe.customers(lost)
    await asyncio.sleep(SEARCHABLE_AFTER_SECONDS + 1)
    assert await customer_of(clients, lost) in made
    assert await stripe.customers(lost) == made
    assert [await customer_of(clients, lower)] == await stripe.customers(lower)


async def test_a_row_that_was_lost_at_once_is_found_again_by_its_key(
    clients: Clients, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await customer_of(clients, org_id)
    await forget(engine, org_id)
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
