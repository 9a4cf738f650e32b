"""Webhooks in a flood, each twice, while every part is killed once: nothing is lost or doubled.

The full stories wait until what the dead had in hand is due again, the small ones make it due.
"""

from collections.abc import Sequence

import pytest

from devstack.demo.platform import Tenant
from tests.support.world import (
    RUNNING,
    UNPROVEN,
    WAITING,
    World,
    balances,
    grace_passes,
    reports_twice,
    send_while_killing,
    until,
)

CHARGED = """
    SELECT key FROM ledger_entries WHERE kind = 'call' AND org_id = ANY(:org_ids) ORDER BY key"""
BELOW_THE_LIMIT = """
    SELECT count(*) FROM ledger_entries JOIN wallets USING (org_id)
    WHERE balance_after_minor < -debt_limit_minor"""
PARKED = 'BillingState = "parked"'
MINUTE_IN_PENCE = 56


@pytest.mark.always
async def test_every_call_is_charged_once_whatever_is_killed(
    world: World, story_is_full: bool
) -> None:
    calls = 5000 if story_is_full else 400
    tenants = [await world.creates(f"tenant{n}", 10_000_000) for n in range(8)]
    reports = reports_twice(world, tenants, calls)
    shots = await send_while_killing(world, reports)
    assert {shot.status for shot in shots} == {200}
    assert len(shots) == 2 * calls

    if not story_is_full:
        await grace_passes(world)
    await until("unhandled events", 0, lambda: world.scalar(WAITING))
    await until("workflows that run", 0, lambda: world.count(RUNNING))
    await _is_charged_exactly(world, tenants, reports.call_ids)
    assert await balances(world, tenants) == -MINUTE_IN_PENCE * calls
    assert await world.count(PARKED) == 0


async def test_one_wallet_never_goes_below_its_limit_and_all_is_paid_in_the_end(
    world: World, story_is_full: bool
) -> None:
    calls = 5000 if story_is_full else 120
    debt_limit_minor = 10 * MINUTE_IN_PENCE + MINUTE_IN_PENCE // 2
    tenant = await world.creates("indebted", debt_limit_minor)
    reports = reports_twice(world, [tenant], calls)
    shots = await send_while_killing(world, reports)
    assert {shot.status for shot in shots} == {200}

    if not story_is_full:
        await grace_passes(world)
    await until("unhandled events", 0, lambda: world.scalar(WAITING))
    await until("parked calls", calls - 10, lambda: world.count(PARKED))
    assert len(await _charged(world, [tenant])) == 10

    await world.customer.tops_up(tenant, calls * MINUTE_IN_PENCE)
    await until("charged calls", calls, lambda: _count_charged(world, tenant))
    await until("parked calls", 0, lambda: world.count(PARKED))
    await until("workflows that run", 0, lambda: world.count(RUNNING))
    await _is_charged_exactly(world, [tenant], reports.call_ids)
    assert await balances(world, [tenant]) == 0


async def _is_charged_exactly(
    world: World, tenants: Sequence[Tenant], call_ids: Sequence[str]
) -> None:
    assert await _charged(world, tenants) == sorted(f"call:{call_id}" for call_id in call_ids)
    assert await world.scalar(UNPROVEN) == 0
    assert await world.scalar(BELOW_THE_LIMIT) == 0
    assert await world.scalar(WAITING) == 0


async def _charged(world: World, tenants: Sequence[Tenant]) -> list[str]:
    rows = await world.rows(CHARGED, org_ids=[tenant.org_id for tenant in tenants])
    return [key for (key,) in rows]


async def _count_charged(world: World, tenant: Tenant) -> int:
    return len(await _charged(world, [tenant]))
