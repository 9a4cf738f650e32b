"""Every reconciliation case, against Vapi's list over HTTP, on a real Temporal server."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

import activities.reconciliation.runs
import activities.reconciliation.vapi_lists
from billing.ledger.money import Currency, Money
from billing.organizations import AgentKind
from billing.reconciliation.reconciliation import FindingKind, FindingOutcome, Report, RunStatus
from store.calls import discards
from store.reconciliation import runs
from tests.support.eventually import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    keys_of,
    register,
    unique,
)
from tests.support.inbox_events import accept, drain, is_handled, report_of
from tests.support.parked_workflows import (
    attributes,
    ended,
    page,
    reprocess,
    start_bill,
    until_parked,
)
from tests.support.reconciled_days import Reconciler, a_day, as_listed, bill, calls_on
from tests.support.stand_ins import VapiStandIn

MINUTE = Money(56, Currency.GBP)


@pytest.fixture(scope="session")
def reconciler(worker: Client, engine: AsyncEngine) -> Reconciler:
    return Reconciler(worker, engine)


async def a_tenant(engine: AsyncEngine, balance_minor: int = 100_000) -> tuple[str, str]:
    org_id = await an_organization(engine, balance_minor)
    return org_id, await an_assistant(engine, org_id)


async def report_of_run(handle: WorkflowHandle[Any, Report | None]) -> Report:
    report = await ended(handle)
    assert report is not None
    return report


async def test_of_two_calls_one_known_one_is_missing_and_recovered(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    known, missed = calls_on(day, assistant, 2)
    await vapi.lists(known, missed)
    await bill(engine, known)

    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.missing, report.total.recovered) == (2, 1, 1)
    assert report.total.reliability_percent == Decimal("50.00")
    assert report.total.recovered_amounts == (MINUTE,)
    assert [tally.org_id for tally in report.organizations] == [org_id]
    assert report.run.status is RunStatus.SUCCEEDED
    [finding] = await reconciler.findings(report)
    assert (finding.subject, finding.kind) == (missed.call_id, FindingKind.MISSING)
    assert finding.outcome is FindingOutcome.RECOVERED
    assert await keys_of(engine, org_id) == [f"call:{known.call_id}", f"call:{missed.call_id}"]
    assert await balance_of(engine, org_id) == 100_000 - 2 * 56


async def test_a_second_run_finds_nothing(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 3))
    assert (await reconciler.reconcile(day)).total.recovered == 3
    again = await reconciler.reconcile(day)
    assert (again.total.checked, again.total.missing) == (3, 0)
    assert again.total.reliability_percent == 100


async def test_what_is_missed_is_extrapolated_to_a_month_and_a_year(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 2))
    impact = (await reconciler.reconcile(day)).impact
    assert impact.missed_a_month == 60
    assert impact.money_a_month == (Money(2 * 56 * 30, Currency.GBP),)
    assert impact.money_a_year == (Money(2 * 56 * 365, Currency.GBP),)


async def test_several_pages_and_equal_timestamps_are_each_seen_once(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    at_once = calls_on(day, assistant, 120)
    await vapi.lists(*at_once, created_at=day.since + timedelta(hours=5))
    earlier, later = calls_on(day, assistant, 200), calls_on(day, assistant, 200)
    await vapi.lists(*earlier, created_at=None)
    await vapi.lists(*later[:190], created_at=day.since + timedelta(hours=6))
    await bill(engine, *at_once[:119], *earlier, *later[:190])

    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.missing) == (510, 1)
    assert report.run.pages == 4


async def test_hundreds_of_calls_of_one_instant_are_asked_for_at_once(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    listed = calls_on(day, assistant, 300)
    await vapi.lists(*listed[10:], created_at=day.since + timedelta(hours=5))
    await vapi.lists(*listed[:10])
    await bill(engine, *listed)
    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.missing) == (300, 0)


async def test_no_calls_are_a_hundred_percent(reconciler: Reconciler) -> None:
    report = await reconciler.reconcile(a_day())
    assert report.total.checked == 0
    assert report.total.reliability_percent == Decimal(100)


async def test_calls_that_have_not_settled_are_left_alone(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """Still going on, waiting in line, or ended a moment ago."""
    _, assistant = await a_tenant(engine)
    day = a_day()
    created = (day.since + timedelta(hours=1)).isoformat()
    running = {"assistantId": assistant, "createdAt": created, "startedAt": created}
    queued = {"assistantId": assistant, "createdAt": created, "status": "queued"}
    just_ended = {"assistantId": assistant, "createdAt": created, "endedAt": None}
    await vapi.http.post("/_control/calls", json=[running, queued])
    made = await vapi.http.post("/_control/calls", json={**just_ended, "startedAt": created})
    await vapi.http.post(f"/_control/calls/{made.json()['ids'][0]}/end", json={"drop": True})
    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.missing) == (0, 0)


async def test_a_call_of_nobody_is_quarantined_and_settles_once_it_has_an_owner(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    assistant = unique("assistant")
    [call] = calls_on(day, assistant, 1)
    await vapi.lists(call)
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.quarantined, report.total.recovered) == (1, 1, 0)
    assert [tally.org_id for tally in report.organizations] == [None]
    handle = worker.get_workflow_handle(f"call/{call.call_id}")
    await until_parked(handle, "unknown_assistant")

    org_id = await an_organization(engine, 1000)
    await register(engine, assistant, org_id)
    assert (await reprocess(handle, "Ann: registered")).state == "settled"
    assert await balance_of(engine, org_id) == 1000 - 56
    assert (await reconciler.reconcile(day)).total.missing == 0


async def test_a_call_is_found_by_its_phone_number(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    number = await register(engine, unique("number"), org_id, AgentKind.PHONE_NUMBER)
    day = a_day()
    [call] = calls_on(day, None, 1)
    await vapi.lists(replace(call, phone_number_id=number))
    assert (await reconciler.reconcile(day)).total.recovered == 1
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_a_call_that_is_known_but_was_never_billed_is_found(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """Its report was accepted, and whatever should have come of it never did."""
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await vapi.lists(call)
    await accept(engine, report_of(call, due_in_seconds=3600.0))
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.unbilled, report.total.recovered) == (0, 1, 1)
    assert report.total.reliability_percent == 100
    assert await balance_of(engine, org_id) == 100_000 - 56


async def test_a_call_whose_process_was_terminated_is_started_again(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    assistant = unique("assistant")
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await vapi.lists(call)
    handle = await start_bill(worker, call)
    await until_parked(handle, "unknown_assistant")
    await handle.terminate()
    await register(engine, assistant, org_id)
    report = await reconciler.reconcile(day)
    assert (report.total.unbilled, report.total.recovered) == (1, 1)
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_a_call_that_waits_for_money_is_reported_as_waiting(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine)
    day = a_day()
    [call] = calls_on(day, await an_assistant(engine, org_id), 1, seconds=1800)
    await vapi.lists(call)
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.recovered, report.total.waiting) == (1, 0, 1)
    assert await balance_of(engine, org_id) == 0


@pytest.mark.parametrize(("longer_by", "cost"), [(30, 83), (-30, 28)])
async def test_a_call_billed_with_another_duration_is_reported_and_corrected(
    reconciler: Reconciler,
    engine: AsyncEngine,
    vapi: VapiStandIn,
    longer_by: int,
    cost: int,
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await bill(engine, call)
    await vapi.lists(as_listed(call, longer_by=longer_by))
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.drifted, report.total.recovered) == (0, 1, 1)
    assert await balance_of(engine, org_id) == 100_000 - cost
    [finding] = await reconciler.findings(report)
    assert finding.amount == Money(cost - 56, Currency.GBP)
    assert f"call:{call.call_id}:correction:1" in await keys_of(engine, org_id)
    assert (await reconciler.reconcile(day)).total.drifted == 0


async def test_another_duration_for_the_same_money_is_reported_once(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """3 and 4 seconds cost the same."""
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1, seconds=3)
    await bill(engine, call)
    await vapi.lists(as_listed(call, longer_by=1))
    report = await reconciler.reconcile(day)
    assert (report.total.drifted, report.total.recovered) == (1, 1)
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    assert (await reconciler.reconcile(day)).total.drifted == 0


async def test_a_start_that_was_reported_is_not_given_back_because_vapi_s_list_lacks_it(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await bill(engine, call)
    await vapi.lists(replace(call, started_at=None), created_at=call.started_at)
    assert (await reconciler.reconcile(day)).total.drifted == 0
    assert await balance_of(engine, org_id) == 100_000 - 56


async def test_a_call_belongs_to_whom_its_report_named_though_vapi_s_list_names_nobody(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id = await an_organization(engine, 100)
    day = a_day()
    [call] = calls_on(day, await an_assistant(engine, org_id), 1, seconds=1800)
    await bill(engine, call)
    await vapi.lists(replace(call, assistant_id=None))
    report = await reconciler.reconcile(day)
    assert [tally.org_id for tally in report.organizations] == [org_id]
    assert (report.total.unbilled, report.total.waiting) == (1, 1)


async def test_a_webhook_that_comes_after_reconciliation_charges_nothing(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await vapi.lists(call)
    await reconciler.reconcile(day)
    report = report_of(call)
    await drain(worker, engine, report)
    assert await is_handled(engine, report)
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


async def test_a_call_that_never_connected_costs_nothing_and_is_found_once(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await vapi.lists(replace(call, started_at=None), created_at=call.started_at)
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.recovered) == (1, 1)
    assert report.total.recovered_amounts == ()
    assert await keys_of(engine, org_id) == []
    assert (await reconciler.reconcile(day)).total.missing == 0


async def test_a_call_that_a_person_gave_up_stays_given_up(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await vapi.lists(call)
    async with engine.begin() as connection:
        await discards.discard(connection, call, "Ann: a test call")
    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.missing, report.total.unbilled) == (1, 0, 0)
    assert await keys_of(engine, org_id) == []


async def test_a_dry_run_reports_and_changes_nothing(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 2))
    report = await reconciler.reconcile(day, dry_run=True)
    assert (report.total.missing, report.total.recovered, report.total.waiting) == (2, 0, 0)
    assert report.total.missing_amounts == (Money(112, Currency.GBP),)
    assert await keys_of(engine, org_id) == []


async def test_one_organisation_is_reconciled_alone(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    mine, assistant = await a_tenant(engine)
    theirs, other_assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 2), *calls_on(day, other_assistant, 3))
    report = await reconciler.reconcile(day, org_id=mine)
    assert [(one.org_id, one.recovered) for one in report.organizations] == [(mine, 2)]
    assert await keys_of(engine, theirs) == []


async def test_a_provider_that_asks_for_patience_is_given_it(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 1))
    await vapi.list_misbehaves(kind="status", status=429, retry_after=1, times=2)
    assert (await reconciler.reconcile(day)).total.recovered == 1


async def test_a_refused_key_fails_visibly_is_retried_and_parks(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    await vapi.lists(*calls_on(day, assistant, 1))
    await vapi.list_misbehaves(kind="status", status=401, times=3)
    handle = await reconciler.start(day)
    await until_parked(handle, "fault")
    assert "401 Unauthorized" in await page(handle)
    run_id = handle.first_execution_run_id or ""
    async with engine.connect() as connection:
        run = await runs.read(connection, run_id)
    assert run.status is RunStatus.PARKED
    assert "401" in run.problem

    assert (await reprocess(handle, "Ann: the key is right now")).state == "running"
    report = await report_of_run(handle)
    assert report.total.recovered == 1
    assert (await attributes(handle))[:2] == ("settled", None)


async def test_a_run_goes_on_where_it_was(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """The second page fails until the run parks; the first is not counted twice."""
    _, assistant = await a_tenant(engine)
    day = a_day()
    listed = calls_on(day, assistant, 300)
    await vapi.lists(*listed)
    await bill(engine, *listed)
    await vapi.list_misbehaves(kind="status", status=500, spare=1, times=3)
    handle = await reconciler.start(day)
    await until_parked(handle, "fault")
    await reprocess(handle, "Ann: Vapi is back")
    report = await report_of_run(handle)
    assert (report.total.checked, report.total.missing, report.run.pages) == (300, 0, 3)


async def test_the_same_request_while_it_runs_is_that_run(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    await vapi.list_misbehaves(kind="delay", seconds=600)
    first = await reconciler.start(day)
    with pytest.raises(Exception, match="already started"):
        await reconciler.start(day)
    await vapi.behave()
    await ended(first)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch, story_is_full: bool) -> int:
    """Two portions of findings and a bit; the small story has smaller ones."""
    if not story_is_full:
        monkeypatch.setattr(activities.reconciliation.runs, "PORTION", 20)
    return 230 if story_is_full else 46


async def test_findings_are_put_right_a_portion_at_a_time(
    reconciler: Reconciler, worker: Client, engine: AsyncEngine, vapi: VapiStandIn, many: int
) -> None:
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    listed = calls_on(day, assistant, many, seconds=1)
    await vapi.lists(*listed)
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.recovered) == (many, many)
    assert len(await keys_of(engine, org_id)) == many
    async with asyncio.timeout(60):
        await eventually(lambda: _is_settled(worker, listed[0].call_id))


async def _is_settled(worker: Client, call_id: str) -> bool:
    found = await attributes(worker.get_workflow_handle(f"call/{call_id}"))
    return found[0] == "settled"


async def test_a_call_that_was_scheduled_five_days_ahead_and_lost_is_found(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    """It exists at Vapi since then, so it is in no window by its creation."""
    org_id, assistant = await a_tenant(engine)
    day = a_day()
    scheduled, usual = calls_on(day, assistant, 2)
    await vapi.lists(usual)
    await vapi.lists(scheduled, created_at=day.since - timedelta(days=5))
    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.missing, report.total.recovered) == (2, 2, 2)
    assert set(await keys_of(engine, org_id)) == {
        f"call:{scheduled.call_id}",
        f"call:{usual.call_id}",
    }


async def test_calls_that_were_scheduled_are_walked_page_by_page_and_those_of_before_are_left(
    reconciler: Reconciler,
    engine: AsyncEngine,
    vapi: VapiStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activities.reconciliation.vapi_lists, "PAGE", 2)
    _, assistant = await a_tenant(engine)
    day = a_day()
    scheduled = calls_on(day, assistant, 5)
    for number, call in enumerate(scheduled):
        await vapi.lists(call, created_at=day.since - timedelta(days=5 + number // 2))
    before = replace(day, since=day.since - timedelta(days=2))
    await vapi.lists(*calls_on(before, assistant, 1), created_at=day.since - timedelta(days=3))
    report = await reconciler.reconcile(day)
    assert (report.total.checked, report.total.recovered) == (5, 5)


async def test_a_call_that_was_scheduled_before_and_ended_after_is_left_to_the_day_of_its_end(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day, later = a_day(), a_day()
    await vapi.lists(*calls_on(later, assistant, 1), created_at=day.since - timedelta(days=5))
    assert (await reconciler.reconcile(day)).total.checked == 0
    report = await reconciler.reconcile(later)
    assert (report.total.checked, report.total.recovered) == (1, 1)


async def test_a_call_with_an_end_and_a_reason_is_compared_whatever_its_status_says(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    _, assistant = await a_tenant(engine)
    day = a_day()
    [call] = calls_on(day, assistant, 1)
    await vapi.knows(call, "in-progress")
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.recovered) == (1, 1)


async def test_a_charge_that_a_rule_made_free_is_given_back_if_the_call_began_while_it_held(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    org_id, assistant = await a_tenant(engine)
    day, fault = a_day(), "call.in-progress.error-vapifault-worker-died"
    free, dear = calls_on(day, assistant, 2)
    period = text("INSERT INTO free_call_rules VALUES ('provider_fault', :since, :until)")
    async with engine.begin() as connection:
        times = {"since": day.since, "until": dear.started_at}
        await connection.execute(period, times)
    await vapi.lists(free, dear, ended_reason=fault)
    await bill(engine, free, dear)
    report = await reconciler.reconcile(day)
    assert (report.total.drifted, report.total.recovered) == (1, 1)
    assert (await keys_of(engine, org_id))[2:] == [f"call:{free.call_id}:correction:1"]
    assert await balance_of(engine, org_id) == 100_000 - 56
