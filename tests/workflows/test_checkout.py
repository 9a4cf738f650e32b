"""A checkout's process: what it does when nothing is heard, when it is told, and when it is cut."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus

from billing.payments.checkout import CheckoutStatus
from tests.support.checkouts import SESSIONS, Process, ask, start, top_up
from tests.support.eventually import eventually
from tests.support.factories import an_organization, balance_of, keys_of
from tests.support.parked_workflows import attributes, ended, page, tries, until_parked
from tests.support.stand_ins import StripeStandIn
from tests.workflows.conftest import SkippingWorld
from workflows.checkout import Checkout


async def session_of(stripe: StripeStandIn, org_id: str) -> dict[str, Any]:
    [session] = await eventually(lambda: stripe.sessions(org_id))
    return session


async def test_a_session_that_expires_unheard_ends_its_process(
    skipping: SkippingWorld, stripe: StripeStandIn
) -> None:
    """Time is skipped to its end at once; while Stripe says that it is open, it is believed."""
    org_id = await an_organization(skipping.engine)
    handle = await start(skipping.temporal, top_up(org_id))
    session = await session_of(stripe, org_id)
    await stripe.expire(session["id"])
    ending = await ended(handle)
    assert ending is not None
    assert (ending.session_id, ending.status) == (session["id"], CheckoutStatus.EXPIRED)
    assert await tries(handle, "open_session") == 1


async def test_a_session_that_is_paid_unheard_is_credited_when_it_must_have_expired(
    skipping: SkippingWorld, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(skipping.engine)
    handle = await start(skipping.temporal, top_up(org_id))
    payment = await stripe.pay((await session_of(stripe, org_id))["id"])
    ending = await ended(handle)
    assert ending is not None
    assert (ending.status, ending.payment_id) == (CheckoutStatus.PAID, payment)

    async def is_credited() -> bool:
        return await balance_of(skipping.engine, org_id) == 2500

    await eventually(is_credited)
    assert await keys_of(skipping.engine, org_id) == [f"payment:{payment}:credit"]


async def test_a_checkout_that_is_looked_at_for_long_begins_anew_with_the_same_session(
    skipping: SkippingWorld, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(skipping.engine)
    first = await start(skipping.temporal, top_up(org_id))
    session = await session_of(stripe, org_id)

    async def has_begun_anew() -> bool:
        run = skipping.temporal.get_workflow_handle(first.id, run_id=first.result_run_id)
        return (await run.describe()).status is WorkflowExecutionStatus.CONTINUED_AS_NEW

    await eventually(has_begun_anew)
    assert (await ask(skipping.temporal, top_up(org_id))).session_id == session["id"]
    await stripe.expire(session["id"])
    ending = await ended(first)
    assert ending is not None
    assert (ending.session_id, ending.status) == (session["id"], CheckoutStatus.EXPIRED)
    assert len(await stripe.sessions(org_id)) == 1


@pytest.mark.parametrize("succeed", [True, False])
async def test_a_bank_debit_of_which_nothing_is_heard_is_looked_at_every_day(
    skipping: SkippingWorld, stripe: StripeStandIn, *, succeed: bool
) -> None:
    org_id = await an_organization(skipping.engine)
    handle = await start(skipping.temporal, top_up(org_id))
    session_id = (await session_of(stripe, org_id))["id"]
    await stripe.pay(session_id, "pm_bacsDebit_success")
    await stripe.clear(session_id, succeed=succeed)
    ending = await ended(handle)
    assert ending is not None
    assert ending.status is (CheckoutStatus.PAID if succeed else CheckoutStatus.FAILED)


async def test_an_outage_of_days_parks_a_checkout_that_then_opens_one_session(
    skipping: SkippingWorld, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(skipping.engine)
    await stripe.posts_misbehave(SESSIONS, kind="status", status=503, times=40)
    handle = await start(skipping.temporal, top_up(org_id))
    session = await session_of(stripe, org_id)
    await stripe.expire(session["id"])
    ending = await ended(handle)
    assert ending is not None
    assert ending.session_id == session["id"]


async def test_it_says_where_it_stands_and_ends_when_it_is_told(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    session = await ask(worker, top_up(org_id))
    handle: Process = worker.get_workflow_handle(f"checkout/{org_id}/2500")
    assert await attributes(handle) == ("running", None, org_id, 2500)
    assert f"session `{session.session_id}`" in await page(handle)
    await handle.signal(Checkout.look_again, "evt_about_nothing_new")
    await stripe.expire(session.session_id)
    await handle.signal(Checkout.look_again, "evt_1")
    assert (await ended(handle)) is not None
    assert await attributes(handle) == ("settled", None, org_id, 2500)


async def test_a_checkout_that_is_given_up_leaves_its_session_to_whoever_pays_it(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    first = await ask(worker, top_up(org_id))
    handle: Process = worker.get_workflow_handle(f"checkout/{org_id}/2500")
    await handle.signal(Checkout.discard, "Ann: a test")
    assert await ended(handle) is None
    assert await attributes(handle) == ("discarded", None, org_id, 2500)
    assert [one["id"] for one in await stripe.sessions(org_id)] == [first.session_id]


async def test_a_look_that_fails_parks_and_whoever_asks_gets_what_was_last_known(
    worker: Client, engine: AsyncEngine, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(engine)
    session = await ask(worker, top_up(org_id))
    path = f"{SESSIONS}/{session.session_id}"
    fault = {"method": "GET", "path": path, "kind": "status", "status": 500, "times": 3}
    (await stripe.http.post("/_control/faults", json=fault)).raise_for_status()
    assert await ask(worker, top_up(org_id)) == session
    handle: Process = worker.get_workflow_handle(f"checkout/{org_id}/2500")
    await until_parked(handle, "fault")
    assert await ask(worker, top_up(org_id)) == session
    assert await attributes(handle) == ("running", None, org_id, 2500)
    await stripe.expire(session.session_id)
    assert (await ask(worker, top_up(org_id))).status is CheckoutStatus.EXPIRED
