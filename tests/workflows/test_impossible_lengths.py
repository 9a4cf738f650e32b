"""A length that cannot be moves no money: the call waits for a person, who decides."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError

from billing.calls.call import CallBill, CallState, EndedCall
from billing.calls.call_in_progress import OngoingCall
from billing.calls.gate import NoCall, allowance
from billing.calls.length import StatedLength
from billing.platform_rules import PlatformRules
from billing.reconciliation.reconciliation import FindingKind, FindingOutcome
from store.calls import call_records, calls, calls_in_progress, gate
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
)
from tests.support.parked_workflows import (
    collect_all,
    ended,
    page,
    recorded,
    start_bill,
    tries,
    until_parked,
)
from tests.support.reconciled_days import Reconciler, a_day, as_listed, bill, calls_on
from tests.support.stand_ins import VapiStandIn
from workflows.bill_call import BillCall
from workflows.shared.decision_answer import DecisionAnswer

ANN = "Ann: the recording says so"
YEAR = timedelta(days=365)


@pytest.fixture
def world(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> tuple[Client, AsyncEngine, VapiStandIn]:
    return worker, engine, vapi


async def a_call(
    engine: AsyncEngine, seconds: float, balance_minor: int = 100_000, ended_at: datetime = NOON
) -> tuple[str, EndedCall]:
    org_id = await an_organization(engine, balance_minor)
    return org_id, ended_call(await an_assistant(engine, org_id), seconds, ended_at=ended_at)


async def alerts_about(engine: AsyncEngine, org_id: str) -> list[dict[str, Any]]:
    query = text("SELECT to_jsonb(alerts)::text FROM alerts WHERE org_id = :org_id")
    async with engine.connect() as connection:
        return [json.loads(row) for [row] in await connection.execute(query, {"org_id": org_id})]


async def charge_length(
    handle: WorkflowHandle[BillCall, CallBill], seconds: float, why: str = ANN
) -> DecisionAnswer:
    length = StatedLength(Decimal(seconds), why, NOON)
    answer: DecisionAnswer = await handle.execute_update(
        "charge_length", length, result_type=DecisionAnswer
    )
    return answer


TOO_LONG, TO_COME = "no call takes more than 43200 s", "which is to come"


@pytest.mark.parametrize(
    ("seconds", "ended_at", "said"),
    [
        (72_000, NOON, TOO_LONG),
        (60, NOON + 10 * YEAR, TO_COME),
        (10 * YEAR.total_seconds(), NOON, TOO_LONG),
    ],
    ids=["a day", "a wrong year", "a wrong year of the start"],
)
async def test_a_length_that_cannot_be_waits_for_a_person_and_the_gate_stays_open(
    world: tuple[Client, AsyncEngine, VapiStandIn], seconds: float, ended_at: datetime, said: str
) -> None:
    worker, engine, vapi = world
    org_id, call = await a_call(engine, seconds, ended_at=ended_at)
    await vapi.knows(call)
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_duration")
    assert said in await page(handle)
    assert await balance_of(engine, org_id) == 100_000
    async with engine.connect() as connection:
        standing = await gate.standing_of(connection, org_id)
    assert allowance(standing, PlatformRules()).allowed
    assert NoCall.CHARGES_WAITING not in str(allowance(standing, PlatformRules()))
    [alert] = await alerts_about(engine, org_id)
    assert said in alert["text"]
    assert (await charge_length(handle, 61)).state == "settled"
    assert await balance_of(engine, org_id) == 100_000 - 57
    assert (await ended(handle)).state is CallState.SETTLED
    [decision] = await recorded(engine, handle.id)
    assert decision.who_and_why == f"{ANN} (61 s)"


async def test_a_call_that_took_longer_than_the_gate_let_it_in_for_waits_for_a_person(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine, 661)
    within = replace(call, call_id=f"{call.call_id}-within", started_at=NOON - timedelta(0, 660))
    for one in (call, within):
        await vapi.knows(one)
        ongoing = OngoingCall(one.call_id, one.assistant_id, None, 3600.0, 600)
        async with engine.begin() as connection:
            await calls_in_progress.note(connection, [ongoing])
    assert (await ended(await start_bill(worker, within))).state is CallState.SETTLED
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_duration")
    assert "was let in for 600 s" in await page(handle)
    async with engine.connect() as connection:
        assert (await call_records.read(connection, call.call_id)).call.cap_seconds == 600
    assert await keys_of(engine, org_id) == [f"call:{within.call_id}"]
    assert (await charge_length(handle, 661)).state == "settled"


@pytest.mark.parametrize(("seconds", "why"), [(43_201, ANN), (-1, ANN), (61, " ")])
async def test_a_person_too_states_only_what_can_be_and_says_who_and_why(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn, seconds: float, why: str
) -> None:
    org_id, call = await a_call(engine, 72_000)
    await vapi.knows(call)
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_duration")
    with pytest.raises(WorkflowUpdateFailedError):
        await charge_length(handle, seconds, why)
    assert await keys_of(engine, org_id) == []


async def test_what_version_0_1_read_from_vapi_and_still_waits_is_asked_again_before_it_is_charged(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """It took a change of the record 20 hours later for the end of the call."""
    org_id, call = await a_call(engine, 600, balance_minor=0)
    await vapi.knows(call)
    handle = await start_bill(worker, replace(call, ended_at=None))
    await until_parked(handle, "debt_limit")
    old = text("""
        UPDATE calls SET ended_at = ended_at + interval '20 hours', facts = facts - 'sources' ||
            jsonb_build_object('ended_at', ended_at + interval '20 hours')
        WHERE call_id = :call_id""")
    async with engine.begin() as connection:
        await connection.execute(old, {"call_id": call.call_id})
    await credit(engine, org_id, 1_000_000)
    await collect_all(worker, org_id)
    bill = await ended(handle)
    assert bill.charge is not None
    assert (bill.state, bill.charge.billed_seconds) == (CallState.SETTLED, 600)
    assert await tries(handle, "fetch_call") == 2
    assert await balance_of(engine, org_id) == 1_000_000 - 553


async def test_a_charge_is_not_corrected_by_what_cannot_be_and_people_are_told(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id = await an_organization(engine, 1_000_000)
    [call] = calls_on(day, await an_assistant(engine, org_id), 1)
    await bill(engine, call)
    await vapi.lists(as_listed(call, longer_by=108_000))
    reconciler = Reconciler(worker, engine)
    report = await reconciler.reconcile(day)
    [finding] = await reconciler.findings(report)
    assert (finding.kind, finding.outcome) == (FindingKind.DRIFTED, FindingOutcome.REPORTED)
    assert "no call takes more than 43200 s" in finding.detail
    assert await balance_of(engine, org_id) == 1_000_000 - 56
    assert len(await alerts_about(engine, org_id)) == 1


async def test_a_record_without_an_end_is_no_reason_to_correct_a_charge(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """Vapi changed the record 30 hours later, and says of no end."""
    day = a_day()
    org_id = await an_organization(engine, 1_000_000)
    [call] = calls_on(day, await an_assistant(engine, org_id), 1)
    await bill(engine, call)
    assert call.started_at is not None
    changed = {
        "id": call.call_id,
        "assistantId": call.assistant_id,
        "status": "ended",
        "createdAt": call.started_at.isoformat(),
        "startedAt": call.started_at.isoformat(),
    }
    (await vapi.http.post("/_control/calls", json=changed)).raise_for_status()
    report = await Reconciler(worker, engine).reconcile(day)
    assert report.total.drifted == 0
    assert await balance_of(engine, org_id) == 1_000_000 - 56


async def test_a_length_beyond_the_bounds_is_not_collected_when_money_comes(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, call = await a_call(engine, 43_200, balance_minor=0)
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    long = text("""
        UPDATE calls SET facts = facts || '{"cap_seconds": 600}' WHERE call_id = :call_id""")
    async with engine.begin() as connection:
        await connection.execute(long, {"call_id": call.call_id})
    await credit(engine, org_id, 1_000_000)
    await collect_all(worker, org_id)
    assert await keys_of(engine, org_id) == []
