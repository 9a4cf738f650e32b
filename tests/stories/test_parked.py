"""A thousand calls that wait, and everybody decides about them at once: nothing happens twice."""

import asyncio
from collections.abc import Sequence
from typing import Any

from devstack.demo.platform import Tenant
from devstack.load import fire
from tests.support.world import (
    CONNECTIONS,
    PATIENCE_SECONDS,
    RUNNING,
    UNPROVEN,
    WAITING,
    World,
    balances,
    kill_and_wait,
    reports_twice,
    until,
)

PARKED = 'BillingState = "parked" AND ExecutionStatus = "Running"'
OPEN = 'WorkflowType = "BillCall" AND ExecutionStatus = "Running"'
MINUTE_IN_PENCE = 56
TIMES = 3
CHARGES = """
    SELECT org_id, count(*), count(DISTINCT key) FROM ledger_entries
    WHERE kind = 'call' AND org_id = ANY(:org_ids) GROUP BY 1 ORDER BY 1"""
STATES = """
    SELECT org_id, state, count(*) FROM calls
    WHERE org_id = ANY(:org_ids) GROUP BY 1, 2 ORDER BY 1, 2"""
RECORDED = """
    SELECT verdict, count(*) FROM decisions
    WHERE who_and_why LIKE '%(bulk ' || :bulk_id || ')' GROUP BY 1"""
FIRST = "SELECT least(count(*), 1) FROM decisions WHERE org_id = ANY(:org_ids)"
TOLD_TWICE = """
    SELECT count(*) FROM (
        SELECT 1 FROM decisions GROUP BY workflow_id, who_and_why HAVING count(*) > 1) twice"""


async def test_parked_calls_settle_once_however_often_everybody_decides_about_them(
    world: World, story_is_full: bool
) -> None:
    """Three paying organisations and one that is given up; money arrives in the middle of it."""
    calls = 1000 if story_is_full else 60
    each = calls // 4
    tenants = [await world.creates(f"waits{number}", 0) for number in range(4)]
    ours = {"org_ids": [tenant.org_id for tenant in tenants]}
    await _let_calls_wait(world, tenants, calls)
    *paying, given_up = tenants

    bulks = [await _decide(world, "reprocess", calls, all=True) for _ in range(TIMES)]
    bulks.append(await _decide(world, "discard", calls, org_id=given_up.org_id))
    await until("a decision", 1, lambda: world.scalar(FIRST, **ours))
    await asyncio.gather(
        kill_and_wait(world.stack, "worker"),
        *(world.customer.tops_up(one, each * MINUTE_IN_PENCE) for one in paying),
    )

    await until("calls that wait", 0, lambda: world.count(OPEN))
    done = [await _done(world, bulk["bulk_id"]) for bulk in bulks]
    await until("workflows that run", 0, lambda: world.count(RUNNING))
    assert await world.rows(CHARGES, **ours) == sorted((one.org_id, each, each) for one in paying)
    assert await world.rows(STATES, **ours) == sorted(
        [(one.org_id, "settled", each) for one in paying] + [(given_up.org_id, "discarded", each)]
    )
    assert await balances(world, tenants) == 0
    assert await world.scalar(UNPROVEN) == 0
    await _all_is_recorded(world, done)


async def _let_calls_wait(world: World, tenants: Sequence[Tenant], calls: int) -> None:
    """Calls of a minute, which wallets without money and without credit cannot pay."""
    reports = reports_twice(world, tenants, calls)
    shots = await fire(
        reports.url,
        reports.requests,
        connections=CONNECTIONS,
        give_up_seconds=PATIENCE_SECONDS,
    )
    assert {shot.status for shot in shots} == {200}
    await until("unhandled events", 0, lambda: world.scalar(WAITING))
    await until("parked calls", calls, lambda: world.count(PARKED))


async def _decide(world: World, verdict: str, calls: int, **which: Any) -> dict[str, Any]:
    """Decide about all that fits, within some ten seconds."""
    new = {"verdict": verdict, "note": "a story", "per_second": max(5, calls // 10), **which}
    begun = await world.http.post("/v1/bulk-decisions", json=new)
    answer: dict[str, Any] = begun.raise_for_status().json()
    return answer


async def _done(world: World, bulk_id: str) -> dict[str, Any]:
    """Wait until a bulk decision is done; answers with what it has told."""
    progress: dict[str, Any] = {}

    async def is_done() -> int:
        answer = await world.http.get(f"/v1/bulk-decisions/{bulk_id}")
        if answer.is_success:
            progress.update(answer.json())
        return int(progress.get("done", False))

    await until("bulk decisions that are done", 1, is_done)
    return progress


async def _all_is_recorded(world: World, done: Sequence[dict[str, Any]]) -> None:
    """Whoever was told has written it down, once for each that told it."""
    for number, bulk in enumerate(done):
        assert bulk["matched"] == bulk["told"] + bulk["gone"]
        verdict = "reprocess" if number < TIMES else "discard"
        recorded = await world.rows(RECORDED, bulk_id=bulk["bulk_id"])
        assert recorded == ([(verdict, bulk["told"])] if bulk["told"] else [])
    told = sum(bulk["told"] for bulk in done)
    assert await world.scalar("SELECT count(*) FROM decisions") == told
    assert await world.scalar(TOLD_TWICE) == 0
