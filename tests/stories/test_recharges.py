"""Wallets that run dry while every part is killed: each is recharged once, and once more later."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx

from devstack.demo.platform import Tenant
from devstack.load import fire
from devstack.providers.vapi.messages import end_of_call_report
from store.payments import customers
from tests.support.world import (
    CONNECTIONS,
    KILLED,
    PATIENCE_SECONDS,
    RUNNING,
    UNPROVEN,
    WAITING,
    World,
    balances,
    kill_and_wait,
    until,
)

CREDITS = "SELECT count(*) FROM ledger_entries WHERE kind = 'topup' AND org_id = ANY(:org_ids)"
TWICE_OR_NEVER = """
    SELECT count(*) FROM wallets w WHERE org_id = ANY(:org_ids) AND :times <> (
        SELECT count(*) FROM ledger_entries e WHERE e.org_id = w.org_id AND e.kind = 'topup')"""
NOT_OVER = "SELECT count(*) FROM recharge_attempts WHERE state <> 'succeeded'"
HOUR_IN_PENCE = 3318


async def test_every_wallet_is_recharged_once_whatever_is_killed_and_once_more_the_next_time(
    world: World, story_is_full: bool
) -> None:
    count = 24 if story_is_full else 6
    tenants = [await _with_a_card(world, number) for number in range(count)]
    paid_before = await _payments(world)
    fault = {"kind": "delay", "method": "POST", "path": "/v1/payment_intents", "seconds": 2.0}
    await world.customer.stripe.post("/_control/faults", json={**fault, "times": count})
    await asyncio.gather(_switch_all_on(world, tenants), _kill_each(world))
    await _are_recharged(world, tenants, 1)
    assert await _payments(world) == paid_before + count

    await _talk_for_hours(world, tenants)
    await _are_recharged(world, tenants, 2)
    assert await _payments(world) == paid_before + 2 * count
    assert await balances(world, tenants) == count * (2 * 5000 - 2 * HOUR_IN_PENCE)


async def _are_recharged(world: World, tenants: Sequence[Tenant], times: int) -> None:
    """Wait until all are, and nothing is under way: so often, and no more."""
    ours = {"org_ids": [tenant.org_id for tenant in tenants]}
    await until("credits", times * len(tenants), lambda: world.scalar(CREDITS, **ours))
    await _is_quiet(world)
    assert await world.scalar(TWICE_OR_NEVER, times=times, **ours) == 0


async def _with_a_card(world: World, number: int) -> Tenant:
    tenant = await world.creates(f"card{number}", 10_000_000)
    stripe = world.customer.stripe
    customer = (await stripe.post("/v1/customers")).raise_for_status().json()["id"]
    attach = "/v1/payment_methods/pm_card_visa/attach"
    (await stripe.post(attach, data={"customer": customer})).raise_for_status()
    async with world.engine.begin() as connection:
        await customers.remember(connection, tenant.org_id, customer)
    return tenant


async def _switch_all_on(world: World, tenants: Sequence[Tenant]) -> None:
    """Ask until it is taken, as a person would; all are short already."""
    for tenant in tenants:
        path = f"/v1/organizations/{tenant.org_id}/auto-recharge"
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _put(world, path):  # noqa: ASYNC110  (a server, not an event)
                await asyncio.sleep(0.5)


async def _put(world: World, path: str) -> bool:
    try:
        answer = await world.http.put(path, json={"enabled": True})
    except httpx.TransportError:
        return False
    return answer.is_success


async def _kill_each(world: World) -> None:
    """One after the other, the worker first: it has a charge in flight by then."""
    for name in ("worker", *(name for name in KILLED if name != "worker")):
        await asyncio.sleep(1.5)
        await kill_and_wait(world.stack, name)


async def _talk_for_hours(world: World, tenants: Sequence[Tenant]) -> None:
    """Two calls of an hour each, at once: the second takes a wallet below its threshold."""
    ended = datetime.fromtimestamp(time.time(), UTC)
    began = ended - timedelta(hours=1)
    reports = world.webhooks(
        end_of_call_report(f"hours-{uuid4()}", tenant.assistant_id, began, ended)
        for tenant in tenants
        for _ in range(2)
    )
    shots = await fire(
        world.webhook_url, reports, connections=CONNECTIONS, give_up_seconds=PATIENCE_SECONDS
    )
    assert {shot.status for shot in shots} == {200}


async def _is_quiet(world: World) -> None:
    await until("attempts that are not over", 0, lambda: world.scalar(NOT_OVER))
    await until("unhandled events", 0, lambda: world.scalar(WAITING))
    await until("workflows that run", 0, lambda: world.count(RUNNING))
    assert await world.scalar(UNPROVEN) == 0


async def _payments(world: World) -> int:
    """How many PaymentIntents there are at Stripe, whatever became of them."""
    shown = await world.customer.stripe.get("/_control/payment_intents")
    return len(shown.raise_for_status().json()["payment_intents"])
