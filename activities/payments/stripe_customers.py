"""An organisation's customer at Stripe: kept, or else found by what is recorded, or else made."""

import time

from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import Customer, InvalidRequestError, RequestOptions, StripeClient
from temporalio import activity

from activities.payments.stripe import read_intent
from activities.payments.stripe_answers import LARGEST_PAGE, asking_stripe, id_of
from activities.payments.stripe_keys import create_once
from billing.errors import PaymentMissing
from store.organizations import organizations
from store.payments import customers

# A little longer than Stripe may replay the first answer to a key.
_KEY_LIVES_SECONDS = 25 * 3600


class StripeCustomers:
    """The activity that finds or creates a customer, of which Stripe gets only the name and id.

    It asks Stripe for no search: that is not to be had everywhere, and lags behind
    (docs.stripe.com/search).
    """

    def __init__(self, engine: AsyncEngine, client: StripeClient) -> None:
        self._engine = engine
        self._client = client

    @activity.defn
    async def customer_of(self, org_id: str) -> str:
        """Return which customer an organisation is; create it, once, if there is none any more.

        One that was deleted at Stripe is forgotten here. Raise NotFound if there is no such
        organisation. Everything else is a fault, and so is a kept customer of whom Stripe knows
        nothing: then the key may be of another account.
        """
        async with self._engine.connect() as connection:
            name = (await organizations.read(connection, org_id)).name
            known = await customers.customer_of(connection, org_id)
        with asking_stripe():
            if known is not None and not is_deleted(await self._read(known)):
                return known
            if known is not None:
                await self._forget(org_id, known)
            customer_id = await self._find(org_id) or await self._create(org_id, name)
        async with self._engine.begin() as connection:
            return await customers.remember(connection, org_id, customer_id)

    async def _forget(self, org_id: str, customer_id: str) -> None:
        async with self._engine.begin() as connection:
            await customers.forget(connection, org_id, customer_id)

    async def _find(self, org_id: str) -> str | None:
        """Return the customer that attempts and credits name, if nothing else says who it was.

        A restored or edited database may have lost that. Of somebody without either, nothing is
        lost if there is another customer.
        """
        async with self._engine.connect() as connection:
            named = await customers.named_by_attempts(connection, org_id)
            paid = await customers.paid_last(connection, org_id)
        named += [payer for one in paid if (payer := await self._payer(one)) is not None]
        async with self._engine.connect() as connection:
            taken = await customers.organizations_of(connection, named)
        for customer_id in dict.fromkeys(named):
            if customer_id not in taken and await self._may_be(customer_id, org_id):
                return customer_id
        return None

    async def _payer(self, payment_id: str) -> str | None:
        try:
            return id_of((await read_intent(self._client, payment_id)).customer)
        except PaymentMissing:
            return None

    async def _may_be(self, customer_id: str, org_id: str) -> bool:
        """Return whether a customer is there, and does not say that it is somebody else."""
        try:
            customer = await self._read(customer_id)
        except InvalidRequestError:
            return False
        return not is_deleted(customer) and _named(customer) in (None, org_id)

    async def _create(self, org_id: str, name: str) -> str:
        return await create_once(
            f"customer:{org_id}",
            lambda options: self._created(org_id, name, options),
            lambda: self._find_new(org_id),
        )

    async def _created(self, org_id: str, name: str, options: RequestOptions) -> str | None:
        """Create a customer; None if the key leads to one that was deleted since."""
        customer = await self._client.v1.customers.create_async(
            {"name": name, "metadata": {"org_id": org_id}}, options
        )
        return None if is_deleted(await self._read(customer.id)) else customer.id

    async def _find_new(self, org_id: str) -> str | None:
        """Look through a list of the last day's customers. Unlike a search, it has them at once."""
        since = int(time.time()) - _KEY_LIVES_SECONDS
        listed = await self._client.v1.customers.list_async(
            {"created": {"gte": since}, "limit": LARGEST_PAGE}
        )
        async for one in listed.auto_paging_iter():
            if _named(one) == org_id:
                return one.id
        return None

    async def _read(self, customer_id: str) -> Customer:
        return await self._client.v1.customers.retrieve_async(customer_id)


def is_deleted(customer: Customer) -> bool:
    """Return whether a customer was deleted. Stripe still answers for its id, and says no more."""
    return bool(getattr(customer, "deleted", False))


def _named(customer: Customer) -> str | None:
    """Return the organisation that a customer's metadata name."""
    return customer.metadata.to_dict().get("org_id") if customer.metadata else None
