"""Ask for checkout sessions as a customer's browser does, and bring Stripe's events to an API."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.support.answers import accepted
from tests.support.api_server import Api
from tests.support.signed_webhooks import signed_by_stripe
from tests.support.stand_ins import StripeStandIn

Session = dict[str, Any]
RETURNS = {
    "success_url": "https://app.example/wallet?paid={CHECKOUT_SESSION_ID}",
    "cancel_url": "https://app.example/wallet",
}

# The API tells whoever waits too long to send the same again.
TRIES = 3


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
    """Ask for a session, as often as it takes on a busy machine; it must be granted. Return it."""
    for _ in range(TRIES):
        answer = await click(client, org_id, amount_minor, **more)
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            break
    assert answer.status_code == 200, answer.text
    session: Session = answer.json()
    return session


@asynccontextmanager
async def bringing_events(
    api: Api, stripe: StripeStandIn, *, twice: bool = False
) -> AsyncIterator[None]:
    """Send the API all events of what happens inside, at the end and in order."""
    before = await stripe.make_event()
    yield
    for event in await stripe.events_after(before):
        webhook = signed_by_stripe(json.dumps(event).encode(), event["id"])
        for _ in range(2 if twice else 1):
            assert accepted(await api.send(webhook)) in ("accepted", "duplicate", "ignored")
