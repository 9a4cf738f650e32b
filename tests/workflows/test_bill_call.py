"""A call's process, as its callers and operators see it."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from billing.calls.call import CallState
from billing.ledger.entry import Outcome
from billing.ledger.money import Currency, Money
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    keys_of,
    register,
    unique,
)
from tests.support.inbox_events import accept, is_handled, report_of
from tests.support.parked_workflows import (
    attributes,
    collect_all,
    discard,
    ended,
    page,
    reprocess,
    start_bill,
    tries,
    until_parked,
)
from tests.support.stand_ins import VapiStandIn

ANN = "Ann: agreed with the customer"


async def test_a_call_is_charged_and_says_so(worker: Client, engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 100)
    call = ended_call(await an_assistant(engine, org_id), 61)
    handle = await start_bill(worker, call)
    bill = await ended(handle)
    assert bill.posting is not None
    assert (bill.state, bill.posting.outcome) == (CallState.SETTLED, Outcome.APPLIED)
    assert bill.posting.balance_after == Money(43, Currency.GBP)
    assert await attributes(handle) == ("settled", None, org_id, 57)
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_a_call_has_one_process_for_ever(worker: Client, engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    first = await start_bill(worker, call)
    with pytest.raises(WorkflowAlreadyStartedError):
        await start_bill(worker, call)
    await ended(first)
    with pytest.raises(WorkflowAlreadyStartedError):
        await start_bill(worker, call)
    assert await balance_of(engine, org_id) == -56


async def test_a_call_that_waits_has_had_its_webhook_handled(
    worker: Client, engine: AsyncEngine
) -> None:
    call = ended_call(await an_assistant(engine, await an_organization(engine)), 600)
    report = report_of(call, due_in_seconds=3600.0)
    await accept(engine, report)
    await until_parked(await start_bill(worker, call), "debt_limit")
    assert await is_handled(engine, report)


async def test_a_missing_duration_is_asked_of_vapi(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 61)
    await vapi.knows(call)
    bill = await ended(await start_bill(worker, replace(call, started_at=None)))
    assert bill.charge is not None
    assert (bill.state, bill.charge.billed_seconds) == (CallState.SETTLED, 61)
    assert await balance_of(engine, org_id) == -57


async def test_a_call_that_never_connected_costs_nothing_once_vapi_has_said_so(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine)
    call = replace(ended_call(await an_assistant(engine, org_id)), started_at=None)
    await vapi.knows(call)
    handle = await start_bill(worker, call)
    assert (await ended(handle)).state is CallState.SETTLED
    assert await tries(handle, "fetch_call") == 1
    assert await keys_of(engine, org_id) == []


async def test_a_call_that_vapi_does_not_know_parks_until_it_does(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    handle = await start_bill(worker, replace(call, ended_at=None))
    await until_parked(handle, "call_missing")
    assert f"Vapi has no call {call.call_id}" in await page(handle)
    await vapi.knows(call)
    assert (await reprocess(handle, "Ann: another key")).state == "settled"
    assert await balance_of(engine, org_id) == -56


async def test_a_first_404_of_vapi_is_not_final(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=404, times=2)
    handle = await start_bill(worker, replace(call, ended_at=None))
    assert (await ended(handle)).state is CallState.SETTLED
    assert await attributes(handle) == ("settled", None, org_id, 56)


async def test_a_call_that_has_not_ended_parks(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    call = replace(
        ended_call(await an_assistant(engine, await an_organization(engine))), ended_at=None
    )
    await vapi.knows(call, "in-progress")
    handle = await start_bill(worker, call)
    await until_parked(handle, "call_not_ended")
    assert "in-progress" in await page(handle)
    assert (await discard(handle, ANN)).state == "discarded"


@pytest.mark.usefixtures("real_retries")
async def test_a_fault_is_tried_three_times_then_parks_and_settles_when_it_is_mended(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """From two seconds on, doubling: a provider that restarts is given six seconds."""
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=500, times=3)
    began = time.monotonic()
    handle = await start_bill(worker, replace(call, ended_at=None))
    await until_parked(handle, "fault")
    assert time.monotonic() - began > 6
    assert "fetch_call failed three times" in await page(handle)
    assert "500 Internal Server Error" in await page(handle)
    assert (await reprocess(handle, "Ann: mended")).state == "settled"
    assert await balance_of(engine, org_id) == -56


async def test_a_rate_limit_at_vapi_is_waited_out_without_parking(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    await vapi.knows(call)
    await vapi.misbehave(call.call_id, kind="status", status=429, retry_after=1)
    handle = await start_bill(worker, replace(call, ended_at=None))
    assert (await ended(handle)).state is CallState.SETTLED
    assert await tries(handle, "fetch_call") == 1


async def test_a_call_of_an_unknown_assistant_settles_by_itself_when_it_is_registered(
    worker: Client, engine: AsyncEngine
) -> None:
    assistant = unique("assistant")
    handle = await start_bill(worker, ended_call(assistant))
    assert await until_parked(handle, "unknown_assistant") == (
        "parked", "unknown_assistant", None, None,
    )  # fmt: skip
    org_id = await an_organization(engine)
    await register(engine, assistant, org_id)
    await collect_all(worker, org_id)
    assert (await ended(handle)).state is CallState.SETTLED
    assert await attributes(handle) == ("settled", None, org_id, 56)
    assert await balance_of(engine, org_id) == -56


async def test_an_assistant_that_finds_its_owner_without_money_waits_for_that_instead(
    worker: Client, engine: AsyncEngine
) -> None:
    assistant = unique("assistant")
    handle = await start_bill(worker, ended_call(assistant, 600))
    await until_parked(handle, "unknown_assistant")
    org_id = await an_organization(engine)
    await register(engine, assistant, org_id)
    await collect_all(worker, org_id)
    assert await until_parked(handle, "debt_limit") == ("parked", "debt_limit", org_id, 553)


async def test_a_call_from_before_the_first_tariff_parks(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    before = datetime(2019, 12, 31, tzinfo=UTC)
    call = ended_call(await an_assistant(engine, org_id), ended_at=before)
    handle = await start_bill(worker, call)
    assert await until_parked(handle, "no_tariff") == ("parked", "no_tariff", org_id, None)
