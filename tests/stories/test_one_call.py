"""Single calls through the whole system: the gate before them, and a report that is lost."""

import json
import time
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from billing.inbox.webhook_event import Drain
from devstack.demo.platform import Tenant
from processes.drains import nudge
from tests.support.world import World, grace_passes, until

CHARGED = "SELECT count(*) FROM ledger_entries WHERE key = 'call:' || :call_id"
KNOWN = "SELECT count(*) FROM calls_in_progress WHERE call_id = :call_id"
REPORTED = """
    SELECT count(*) FROM webhook_events WHERE subject = :call_id AND type = 'end-of-call-report'"""
HANDLED = f"{REPORTED} AND status = 'handled'"
TWO_MINUTES = 120.0


@pytest.fixture
async def vapi(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=f"{world.stack.vapi_url}/_control", trust_env=False, timeout=30
    ) as control:
        yield control


async def test_a_wallet_at_its_limit_gets_no_further_call_until_money_arrives(
    world: World, vapi: httpx.AsyncClient
) -> None:
    tenant = await world.creates("limited", debt_limit_minor=600)
    await rings_at(world, tenant)
    call_id, answer = await somebody_calls(vapi, tenant)
    assert answer == {
        "assistantId": tenant.assistant_id, "assistantOverrides": {"maxDurationSeconds": 600},
    }  # fmt: skip
    # It began ten minutes ago: what ends in ten minutes is believed in ten minutes, and no sooner.
    began = datetime.fromtimestamp(time.time() - 600, UTC)
    await takes_place(vapi, tenant, call_id, startedAt=began.isoformat())
    await says(vapi, call_id, "end", durationSeconds=600)
    await until("the charge", 1, lambda: world.scalar(CHARGED, call_id=call_id))

    _, answer = await somebody_calls(vapi, tenant)
    assert answer.keys() == {"error"}
    await world.customer.tops_up(tenant, 2500)
    await until("the top-up", 2500 - 553, lambda: balance(world, tenant))
    _, answer = await somebody_calls(vapi, tenant)
    assert answer["assistantId"] == tenant.assistant_id


async def test_a_lost_report_is_made_up_for_within_minutes(
    world: World, vapi: httpx.AsyncClient, story_is_full: bool
) -> None:
    """The full story waits for what is due in a while, the small one lets that have passed."""
    tenant = await world.creates("unheard-of", debt_limit_minor=600)
    call_id = str(uuid.uuid4())
    await takes_place(vapi, tenant, call_id)
    await says(vapi, call_id, "end", durationSeconds=60, drop=True)
    await says(vapi, call_id, "status", status="ended")
    ended_at = time.monotonic()
    await until("the call that is known", 1, lambda: world.scalar(KNOWN, call_id=call_id))
    assert await world.scalar(CHARGED, call_id=call_id) == 0
    if not story_is_full:
        await a_minute_passes(world, call_id)
    await until("the charge", 1, lambda: world.scalar(CHARGED, call_id=call_id))
    assert time.monotonic() - ended_at < TWO_MINUTES
    assert await balance(world, tenant) == -56

    await says(vapi, call_id, "end")
    await until("the late report", 1, lambda: world.scalar(REPORTED, call_id=call_id))
    if not story_is_full:
        await grace_passes(world)
    await until("its end", 1, lambda: world.scalar(HANDLED, call_id=call_id))
    assert await balance(world, tenant) == -56


async def rings_at(world: World, tenant: Tenant) -> None:
    """Give the tenant a number that its assistant answers."""
    new = {"phone_number_id": number_of(tenant), "assistant_id": tenant.assistant_id}
    path = f"/v1/organizations/{tenant.org_id}/assistants"
    (await world.http.post(path, json=new)).raise_for_status()


async def somebody_calls(vapi: httpx.AsyncClient, tenant: Tenant) -> tuple[str, dict[str, Any]]:
    """Have Vapi ask who answers; gives the call's id, and what Vapi is told."""
    call_id = str(uuid.uuid4())
    inbound = {"id": call_id, "phoneNumberId": number_of(tenant)}
    asked = (await vapi.post("/assistant-request", json=inbound)).raise_for_status().json()
    assert asked["status"] == httpx.codes.OK
    answer: dict[str, Any] = json.loads(asked["answer"])
    return call_id, answer


async def takes_place(vapi: httpx.AsyncClient, tenant: Tenant, call_id: str, **how: object) -> None:
    agents = {"assistantId": tenant.assistant_id, "phoneNumberId": number_of(tenant)}
    new = {"id": call_id, "status": "ringing", **agents, **how}
    (await vapi.post("/calls", json=new)).raise_for_status()
    await says(vapi, call_id, "status", status="in-progress")


async def says(vapi: httpx.AsyncClient, call_id: str, what: str, **how: object) -> None:
    """Let something happen to the call at Vapi, which tells of it, or not."""
    (await vapi.post(f"/calls/{call_id}/{what}", json=how)).raise_for_status()


async def a_minute_passes(world: World, call_id: str) -> None:
    statement = text(
        "UPDATE calls_in_progress SET due_at = due_at - interval '1 minute'"
        " WHERE call_id = :call_id"
    )
    async with world.engine.begin() as connection:
        await connection.execute(statement, {"call_id": call_id})
    await nudge(world.temporal, Drain.INBOX)


async def balance(world: World, tenant: Tenant) -> int:
    return await world.scalar(
        "SELECT balance_minor FROM wallets WHERE org_id = :org_id", org_id=tenant.org_id
    )


def number_of(tenant: Tenant) -> str:
    return f"number-{tenant.org_id}"
