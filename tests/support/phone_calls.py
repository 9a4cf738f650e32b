"""Make phone calls at Vapi, report them, and compute what they cost by the tariff."""

import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from billing.calls.call import duration_seconds
from billing.calls.vapi import call_from_api
from billing.ledger.money import Currency
from billing.tariffs.tariff import rate_call, tariff_at
from devstack.demo.platform import Tenant
from devstack.load import fire
from devstack.providers.vapi.messages import report_of
from devstack.providers.vapi.requests import Generated
from store.tariffs import call_tariffs
from tests.support.world import CONNECTIONS, PATIENCE_SECONDS, RUNNING, WAITING, World, until

# The youngest call began this long ago and took ten minutes, so its grace period is over.
BEGAN_BEFORE = timedelta(minutes=21)
DAY = timedelta(days=1)

Listed = dict[str, Any]


async def happen(
    world: World, tenants: Collection[Tenant], count: int, spread: timedelta = DAY
) -> list[Listed]:
    """Let calls take place and end, up to twenty minutes ago, without a report.

    Vapi lists these and no others. Return that list, newest first.
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
    """Let Vapi report calls, and wait until all work about them is done."""
    requests = world.webhooks(report_of(call, _now()) for call in calls)
    shots = await fire(
        world.webhook_url, requests, connections=CONNECTIONS, give_up_seconds=PATIENCE_SECONDS
    )
    assert [shot.status for shot in shots] == [httpx.codes.OK] * len(calls)
    await until("unhandled events", 0, lambda: world.scalar(WAITING))
    await until("workflows that run", 0, lambda: world.count(RUNNING))


async def costs(world: World, calls: Sequence[Listed]) -> dict[str, int]:
    """Return what each call costs in pence, by the tariff and Vapi's own times."""
    async with world.engine.connect() as connection:
        rates = await call_tariffs.for_organizations(connection, ())
    due = {}
    for call in map(call_from_api, calls):
        seconds = duration_seconds(call)
        assert call.started_at is not None
        assert seconds is not None
        tariff = tariff_at(rates, "", Currency.GBP, call.started_at)
        due[f"call:{call.call_id}"] = rate_call(tariff, seconds).amount.amount_minor
    return due


async def charges(world: World, tenants: Collection[Tenant]) -> dict[str, int]:
    """Read the amounts of all entries of these tenants, of any kind: pence by key."""
    entries = await world.rows(
        "SELECT key, amount_minor FROM ledger_entries WHERE org_id = ANY(:org_ids)",
        org_ids=[tenant.org_id for tenant in tenants],
    )
    return dict(entries)


async def _listed(vapi: httpx.AsyncClient) -> list[Listed]:
    """Read the whole list. It can be read by time, for no two of these calls have the same."""
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
