"""A worker that is killed at any step of a checkout: one customer, one session, one credit."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from devstack import programs
from devstack.process import Service
from devstack.stack import Stack
from processes.namespace import prepare
from settings import Settings
from tests.support.answers import balance, eventually
from tests.support.api_server import Api, serving
from tests.support.checkout_clicks import bringing_events, click, opened
from tests.support.factories import an_organization, keys_of
from tests.support.stand_ins import StripeStandIn
from wiring import connect_temporal

CUSTOMERS, SESSIONS = "/v1/customers", "/v1/checkout/sessions"
NAMESPACE = "a-worker-is-killed-here"
# Until the worker is killed.
HELD = {"kind": "delay", "seconds": 600}


@dataclass
class Cut:
    """A checkout, and at which of its steps the worker is killed."""

    step: str
    org_id: str
    session_id: str = ""
    payment_id: str = ""


@pytest.fixture
async def stripe(stripe: StripeStandIn) -> AsyncIterator[StripeStandIn]:
    yield stripe
    await stripe.behave()


@asynccontextmanager
async def killable(stack: Stack, engine: AsyncEngine, state: Path) -> AsyncIterator[Service]:
    """A worker as a process of its own, which is started again whenever it dies."""
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    env = {**stack.settings(), "DATABASE_URL": url, "TEMPORAL_NAMESPACE": NAMESPACE}

    async def ready(_: int) -> bool:
        return True

    service = Service(lambda: programs.worker(state, env), ready)
    await service.start()
    yield service
    await service.stop()


async def held(stripe: StripeStandIn, method: str, path: str) -> Callable[[], Awaitable[bool]]:
    """Hold the next request; answers with how to see that it has come."""
    fault = {"method": method, "path": path, **HELD}
    (await stripe.http.post("/_control/faults", json=fault)).raise_for_status()

    async def has_come() -> bool:
        faults: list[dict[str, Any]] = (await stripe.http.get("/_control/faults")).json()["faults"]
        return any(one["path"] == path and one["hits"] for one in faults)

    return has_come


async def test_a_worker_that_is_killed_at_any_step_leaves_one_customer_session_and_credit(
    stack: Stack, settings: Settings, engine_apart: AsyncEngine, stripe: StripeStandIn,
    tmp_path: Path,
) -> None:  # fmt: skip
    temporal = await connect_temporal(settings.model_copy(update={"temporal_namespace": NAMESPACE}))
    await prepare(temporal)
    async with (
        serving(engine_apart, temporal) as api,
        killable(stack, engine_apart, tmp_path) as worker,
    ):
        await eventually(lambda: is_served(api))
        cuts = [
            await cut_while_open(api),
            await cut_while_looking(api, stripe),
            await cut_at_a_post(api, stripe, CUSTOMERS),
            await cut_at_a_post(api, stripe, SESSIONS),
            await cut_while_settling(api, stripe),
        ]
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        await stripe.behave()
        await asyncio.gather(*(goes_on(api, stripe, cut) for cut in cuts))
        async with bringing_events(api, stripe):
            for cut in cuts:
                cut.payment_id = cut.payment_id or await stripe.pay(cut.session_id)
        for cut in cuts:
            await is_as_it_should_be(api, stripe, cut)


async def is_served(api: Api) -> bool:
    """Whether a worker polls by now."""
    org_id = await an_organization(api.engine)
    return (await click(api.operator, org_id)).status_code == 200


async def cut_while_open(api: Api) -> Cut:
    org_id = await an_organization(api.engine)
    session = await opened(api.operator, org_id)
    return Cut("the session is open", org_id, session["session_id"])


async def cut_while_looking(api: Api, stripe: StripeStandIn) -> Cut:
    cut = await cut_while_open(api)
    has_come = await held(stripe, "GET", f"{SESSIONS}/{cut.session_id}")
    await abandoned(api, cut.org_id, has_come)
    cut.step = "it looks at the session"
    return cut


async def cut_at_a_post(api: Api, stripe: StripeStandIn, path: str) -> Cut:
    """The work is done when the stand-in has held the request; nobody is there for the answer."""
    org_id = await an_organization(api.engine)
    await abandoned(api, org_id, await held(stripe, "POST", path))
    return Cut(f"POST {path} is under way", org_id)


async def cut_while_settling(api: Api, stripe: StripeStandIn) -> Cut:
    cut = await cut_while_open(api)
    cut.payment_id = await stripe.pay(cut.session_id)
    has_come = await held(stripe, "GET", f"/v1/payment_intents/{cut.payment_id}")
    await abandoned(api, cut.org_id, has_come)
    cut.step = "the payment is looked at"
    return cut


async def abandoned(api: Api, org_id: str, has_come: Callable[[], Awaitable[bool]]) -> None:
    """Click, and leave before there is an answer."""
    clicked = asyncio.create_task(click(api.operator, org_id))
    await eventually(has_come)
    clicked.cancel()
    await asyncio.wait([clicked])


async def goes_on(api: Api, stripe: StripeStandIn, cut: Cut) -> None:
    """Click until there is an answer: what is not paid yet is still the same session."""

    async def is_answered() -> bool:
        return (await click(api.operator, cut.org_id)).status_code == 200

    await eventually(is_answered)
    if not cut.payment_id:
        [session] = await stripe.sessions(cut.org_id)
        assert cut.session_id in ("", session["id"]), cut.step
        cut.session_id = session["id"]


async def is_as_it_should_be(api: Api, stripe: StripeStandIn, cut: Cut) -> None:
    async def is_credited() -> bool:
        return await balance(api, cut.org_id) == 2500

    await eventually(is_credited)
    assert await keys_of(api.engine, cut.org_id) == [f"payment:{cut.payment_id}:credit"], cut.step
    customers = await stripe.customers(cut.org_id)
    sessions = [one["id"] for one in await stripe.sessions(cut.org_id)]
    assert (len(customers), sessions[-1]) == (1, cut.session_id), cut.step
    sys.stdout.write(f"{cut.step:<45} 1 customer, 1 session, 1 credit\n")
