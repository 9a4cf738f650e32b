"""An organisation's customer at Stripe: found or made once, then kept."""

import time

from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import Customer, RateLimitError, RequestOptions, StripeClient
from temporalio import activity

from activities.retry_after import retry_after
from activities.stripe_keys import create_once
from store import customers, wallets

# As long as Stripe may replay a key's first answer, and a little more.
_KEY_LIVES_SECONDS = 25 * 3600
_PAGE = 100


class StripeCustomers:
    """Customers are made at Stripe with no more than the organisation's name and id."""

    def __init__(self, engine: AsyncEngine, client: StripeClient) -> None:
        self._engine = engine
        self._client = client

    @activity.defn
    async def customer_of(self, org_id: str) -> str:
        """Say which customer an organisation is; make it one, once, if it is none yet.

        Refuses with NotFound when there is no such organisation; everything else is a fault.
        """
        async with self._engine.connect() as connection:
            name = (await wallets.read(connection, org_id)).name
            known = await customers.customer_of(connection, org_id)
        if known is not None:
            return known
        try:
            customer_id = await self._find(org_id) or await self._create(org_id, name)
        except RateLimitError as limited:
            raise retry_after(limited.headers, str(limited)) from limited
        async with self._engine.begin() as connection:
            return await customers.remember(connection, org_id, customer_id)

    async def _find(self, org_id: str) -> str | None:
        """Search by metadata, the oldest first if it was once made twice.

        Stripe finds it a minute after it was made (docs.stripe.com/search); until then the key
        leads to it. A search ignores case, which tells organisations apart.
        """
        quoted = org_id.replace("\\", "\\\\").replace("'", "\\'")
        found = await self._client.v1.customers.search_async(
            {"query": f"metadata['org_id']:'{quoted}'", "limit": _PAGE}
        )
        own = [one async for one in found.auto_paging_iter() if _is_of(one, org_id)]
        return min(own, key=lambda one: one.created).id if own else None

    async def _create(self, org_id: str, name: str) -> str:
        return await create_once(
            f"customer:{org_id}",
            lambda options: self._created(org_id, name, options),
            lambda: self._find_new(org_id),
        )

    async def _created(self, org_id: str, name: str, options: RequestOptions) -> str:
        customer = await self._client.v1.customers.create_async(
            {"name": name, "metadata": {"org_id": org_id}}, options
        )
        return customer.id

    async def _find_new(self, org_id: str) -> str | None:
        """Look through the customers of the last day, which a list has at once."""
        since = int(time.time()) - _KEY_LIVES_SECONDS
        listed = await self._client.v1.customers.list_async(
            {"created": {"gte": since}, "limit": _PAGE}
        )
        async for one in listed.auto_paging_iter():
            if _is_of(one, org_id):
                return one.id
        return None


def _is_of(customer: Customer, org_id: str) -> bool:
    return bool(customer.metadata and customer.metadata.to_dict().get("org_id") == org_id)
