"""What runs hears of better facts: from reconciliation, and from a report that comes after all."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle

from billing.calls.call import CallBill, CallState, EndedCall, call_workflow_id
from billing.calls.fact_source import FactSource
from billing.calls.facts import merge, of_notice
from billing.inbox.webhook_event import Drain
from billing.ledger.money import Currency, Money
from billing.reconciliation.reconciliation import FindingOutcome
from processes import webhook_events
from processes.drains import nudge
from store.calls import call_records, calls
from tests.support.eventually import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    credit,
    ended_call,
    keys_of,
)
from tests.support.inbox_events import accept, drain, is_handled, report_of
from tests.support.parked_workflows import collect_all, ended, page, start_bill, tries, until_parked
from tests.support.reconciled_days import Reconciler, a_day, calls_on
from tests.support.stand_ins import VapiStandIn
from workflows.bill_call import BillCall


@pytest.fixture(scope="session")
def reconciler(worker: Client, engine: AsyncEngine) -> Reconciler:
    return Reconciler(worker, engine)


async def a_call(
    engine: AsyncEngine, seconds: float = 60, balance_minor: int = 0
) -> tuple[str, EndedCall]:
    org_id = await an_organization(engine, balance_minor, debt_limit_minor=0)
    return org_id, ended_call(await an_assistant(engine, org_id), seconds)


def bare(call: EndedCall) -> EndedCall:
    """Return what a process is started with when no report has come."""
    return of_notice(call.call_id, call.assistant_id)


async def facts_of(engine: AsyncEngine, call: EndedCall) -> EndedCall:
    async with engine.connect() as connection:
        return (await call_records.read(connection, call.call_id)).call


async def tell(handle: WorkflowHandle[Any, CallBill], call: EndedCall) -> None:
    await handle.signal(BillCall.news, call)
    await handle.signal(BillCall.wake_up, "a test")


async def a_run_that_vapi_does_not_end(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn, seconds: float, balance_minor: int = 0
) -> tuple[str, EndedCall, WorkflowHandle[BillCall, CallBill]]:
    """Park a call without a report that, as Vapi has it, still goes on."""
    org_id, call = await a_call(engine, seconds, balance_minor)
    await vapi.knows(replace(call, ended_at=None), "in-progress")
    handle = await start_bill(worker, bare(call))
    await until_parked(handle, "call_not_ended")
    return org_id, call, handle


async def test_a_parked_call_that_vapi_now_says_was_short_is_charged_as_such_when_money_comes(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id = await an_organization(engine, debt_limit_minor=0)
    [call] = calls_on(day, await an_assistant(engine, org_id), 1, seconds=60)
    assert call.started_at is not None
    reported = replace(call, started_at=call.started_at - timedelta(seconds=1740))
    handle = await start_bill(worker, reported)
    await until_parked(handle, "debt_limit")
    await vapi.lists(call)

    report = await reconciler.reconcile(day)
    [finding] = await reconciler.findings(report)
    assert (finding.amount, finding.outcome) == (Money(56, Currency.GBP), FindingOutcome.WAITING)
    await eventually(lambda: says(handle, "this call (60 s = 0.70 USD, charged as 0.56 GBP"))
    await credit(engine, org_id, 2000)
    await collect_all(worker, org_id)
    bill = await ended(handle)
    assert bill.charge is not None
    assert (bill.state, bill.charge.billed_seconds) == (CallState.SETTLED, 60)
    assert await balance_of(engine, org_id) == 2000 - 56
    assert (await reconciler.reconcile(day)).total.drifted == 0


async def test_a_parked_call_settles_at_once_if_the_wallet_can_pay_what_reconciliation_finds(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id = await an_organization(engine, 100, debt_limit_minor=0)
    [call] = calls_on(day, await an_assistant(engine, org_id), 1)
    assert call.started_at is not None
    handle = await start_bill(
        worker, replace(call, started_at=call.started_at - timedelta(seconds=1740))
    )
    await until_parked(handle, "debt_limit")
    await vapi.lists(call)
    assert (await reconciler.reconcile(day)).total.recovered == 1
    assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 100 - 56


async def test_a_report_reaches_the_process_that_asks_vapi_in_its_place(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call, handle = await a_run_that_vapi_does_not_end(worker, engine, vapi, 60, 1000)
    await accept(engine, report_of(call, due_in_seconds=3600.0))
    assert not await webhook_events.start(worker, report_of(call))
    assert (await ended(handle)).state is CallState.SETTLED
    assert await tries(handle, "fetch_call") == 1
    assert await is_handled(engine, report_of(call))
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_a_report_that_the_drain_cannot_settle_reaches_the_process_that_waits(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call, handle = await a_run_that_vapi_does_not_end(worker, engine, vapi, 1200)
    await accept(engine, report_of(call))
    await nudge(worker, Drain.INBOX)
    await until_parked(handle, "debt_limit")
    await eventually(lambda: is_handled(engine, report_of(call)))
    await credit(engine, org_id, 2000)
    await collect_all(worker, org_id)
    assert (await ended(handle)).state is CallState.SETTLED
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_a_try_without_the_report_does_not_forget_that_the_call_waits_for_money(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call, handle = await a_run_that_vapi_does_not_end(worker, engine, vapi, 1200)
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    await handle.signal(BillCall.wake_up, "a test")
    await until_parked(handle, "debt_limit")
    assert await facts_of(engine, call) == merge(call, bare(call))
    await credit(engine, org_id, 2000)
    await collect_all(worker, org_id)
    assert (await ended(handle)).state is CallState.SETTLED


async def test_a_call_that_healed_without_a_report_remembers_the_report_that_comes_after_all(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine, balance_minor=1000)
    await vapi.knows(call)
    await ended(await start_bill(worker, bare(call)))
    await drain(worker, engine, report_of(replace(call, phone_number_id="number")))
    known = await facts_of(engine, call)
    assert known.phone_number_id == "number"
    assert known.source_of("phone_number_id") is FactSource.REPORT
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_a_late_report_of_a_call_that_seemed_never_to_have_connected_waits_for_money_visibly(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, call = await a_call(engine, 1200)
    await vapi.knows(replace(call, started_at=None))
    first = await start_bill(worker, bare(call))
    assert (await ended(first)).state is CallState.SETTLED
    await accept(engine, report_of(call))
    await nudge(worker, Drain.INBOX)
    again = worker.get_workflow_handle(call_workflow_id(call.call_id))
    await until_parked(again, "debt_limit")
    await eventually(lambda: is_handled(engine, report_of(call)))
    await credit(engine, org_id, 2000)
    await collect_all(worker, org_id)
    await ended(again)
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_a_late_report_begins_anew_what_has_ended(
    worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """So it does when PostgreSQL is away, and nothing else would remember the report."""
    org_id, call = await a_call(engine, balance_minor=1000)
    await vapi.knows(replace(call, started_at=None))
    await ended(await start_bill(worker, bare(call)))
    assert not await webhook_events.start(worker, report_of(call))
    again = worker.get_workflow_handle(call_workflow_id(call.call_id))
    await ended(again)
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_news_during_a_try_is_not_lost_though_that_try_succeeds(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, call = await a_call(engine, 90, balance_minor=1000)
    assert call.started_at is not None
    read = as_api(replace(call, started_at=call.started_at + timedelta(seconds=30)))
    async with engine.begin() as holding:
        await calls.lock(holding, [call.call_id])
        handle = await start_bill(worker, call)
        await tell(handle, read)
    await ended(handle)
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_news_alone_begins_no_try_for_a_worker_of_version_0_1_would_begin_none(
    worker: Client, engine: AsyncEngine
) -> None:
    """A history that was written by both must replay with the code of each."""
    org_id, call = await a_call(engine, 1200, balance_minor=100)
    assert call.ended_at is not None
    read = as_api(replace(call, started_at=call.ended_at - timedelta(seconds=60)))
    handle = await start_bill(worker, call)
    await until_parked(handle, "debt_limit")
    await handle.signal(BillCall.news, read)
    assert "this call (1200 s" in await page(handle)
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    await handle.signal(BillCall.wake_up, "a test")
    assert (await ended(handle)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 100 - 56


async def says(handle: WorkflowHandle[Any, Any], what: str) -> bool:
    return what in await page(handle)
