"""A customer's browser that asks for a checkout session, and Stripe's events brought to an API."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.api.expecting import accepted
from tests.api.serving import Api
from tests.api.signing import signed_by_stripe
from tests.stand_ins import StripeStandIn

Session = dict[str, Any]
RETURNS = {
    "success_url": "https://app.example/wallet?paid={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://app.example/wallet",
}


def path_of(org_id: str) -> str:
    return f"/v1/organizations/{org_id}/checkout-sessions"


async def click(
    client: httpx.AsyncClient, org_id: str, amount_minor: int = 2500, **more: Any
) -> httpx.Response:
    return await client.post(
        path_of(org_id), json={"amount_minor": amount_minor, **RETURNS, **more}
    )


async def opened(
    client: httpx.AsyncClient, org_id: str, amount_minor: int = 2500, **more: Any
) -> Session:
    """The session that a click must get."""
    answer = await click(client, org_id, amount_minor, **more)
    assert answer.status_code == 200, answer.text
    session: Session = answer.json()
    return session


@asynccontextmanager
async def bringing_events(
    api: Api, stripe: StripeStandIn, *, twice: bool = False
) -> AsyncIterator[None]:
    """Bring the API all events of what happens inside, at the end and in order."""
    before = await stripe.makes_an_event()
    yield
    for event in await stripe.events_after(before):
        webhook = signed_by_stripe(json.dumps(event).encode(), event["id"])
        for _ in range(2 if twice else 1):
            assert accepted(await api.send(webhook)) in ("accepted", "duplicate", "ignored")
