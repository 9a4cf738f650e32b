"""Phone calls at Vapi: some reported and some not, and what they cost by the tariff."""

import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from billing.call import duration_seconds
from billing.money import Currency
from billing.tariff import rate_call, tariff_at
from billing.vapi import call_from_api
from devstack.demo.platform import Tenant
from devstack.load import fire
from devstack.providers.vapi_control import Generated
from devstack.providers.vapi_messages import report_of
from store import tariffs
from tests.stories.world import CONNECTIONS, PATIENCE_SECONDS, RUNNING, WAITING, World, until

# The youngest call begins this long ago, and takes ten minutes: past its grace period.
BEGAN_BEFORE = timedelta(minutes=21)
DAY = timedelta(days=1)

Listed = dict[str, Any]


async def happen(
    world: World, tenants: Collection[Tenant], count: int, spread: timedelta = DAY
) -> list[Listed]:
    """Let calls take place and end, up to twenty minutes ago; nobody is told of them.

    Vapi lists these and no others. Answers with that list, newest first.
    """
    wanted = Generated(
        count=count,
        assistant_ids=[tenant.assistant_id for tenant in tenants],
        seed=time.time_ns(),
        to=_now() - BEGAN_BEFORE,
        spread_seconds=spread.total_seconds(),
    )
    async with _vapi(world) as vapi:
        (await vapi.delete("/_control/calls")).raise_for_status()
        (await vapi.post("/_control/calls", json=wanted.model_dump(mode="json"))).raise_for_status()
        return await _listed(vapi)


async def report(world: World, calls: Sequence[Listed]) -> None:
    """Let Vapi report calls, and wait until all that comes of it is done."""
    requests = world.webhooks(report_of(call, _now()) for call in calls)
    shots = await fire(
        world.webhook_url, requests, connections=CONNECTIONS, give_up_seconds=PATIENCE_SECONDS
    )
    assert [shot.status for shot in shots] == [httpx.codes.OK] * len(calls)
    await until("unhandled events", 0, lambda: world.scalar(WAITING))
    await until("workflows that run", 0, lambda: world.count(RUNNING))


async def costs(world: World, calls: Sequence[Listed]) -> dict[str, int]:
    """What each call costs in pence, by the tariff and Vapi's own times."""
    async with world.engine.connect() as connection:
        rates = await tariffs.for_organizations(connection, ())
    due = {}
    for call in map(call_from_api, calls):
        seconds = duration_seconds(call)
        assert call.started_at is not None
        assert seconds is not None
        tariff = tariff_at(rates, "", Currency.GBP, call.started_at)
        due[f"call:{call.call_id}"] = rate_call(tariff, seconds).amount.amount_minor
    return due


async def charges(world: World, tenants: Collection[Tenant]) -> dict[str, int]:
    """What the ledger says that tenants were charged: pence by key, whatever the entry is."""
    entries = await world.rows(
        "SELECT key, amount_minor FROM ledger_entries WHERE org_id = ANY(:org_ids)",
        org_ids=[tenant.org_id for tenant in tenants],
    )
    return dict(entries)


async def _listed(vapi: httpx.AsyncClient) -> list[Listed]:
    """Read the whole list; these calls were created at instants of their own."""
    listed: list[Listed] = []
    query = {"limit": "1000"}
    while page := (await vapi.get("/call", params=query)).raise_for_status().json():
        listed += page
        query["createdAtLt"] = page[-1]["createdAt"]
    return listed


def _vapi(world: World) -> httpx.AsyncClient:
    key = {"Authorization": f"Bearer {world.stack.settings()['VAPI_API_KEY']}"}
    return httpx.AsyncClient(
        base_url=world.stack.vapi_url, headers=key, trust_env=False, timeout=60.0
    )


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
