"""More calls of one instant than Vapi lists at once: they are read from its list with pages."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle

from activities.reconciliation import vapi_lists as walking
from billing.calls.call import EndedCall
from billing.reconciliation.reconciliation import Report, Window
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, keys_of
from tests.support.parked_workflows import ended, page, until_parked
from tests.support.reconciled_days import Reconciler, a_day, bill, calls_on
from tests.support.stand_ins import VapiStandIn

FIVE_O_CLOCK = timedelta(hours=5)


@pytest.fixture(scope="session")
def reconciler(worker: Client, engine: AsyncEngine) -> Reconciler:
    return Reconciler(worker, engine)


@pytest.fixture(autouse=True)
async def behaving(vapi: VapiStandIn, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Let four calls be as many as Vapi gives at once."""
    monkeypatch.setattr(walking, "PAGE", 2)
    monkeypatch.setattr(walking, "LARGEST_PAGE", 4)
    yield
    await vapi.behave()


async def at_once(
    engine: AsyncEngine, vapi: VapiStandIn, day: Window, count: int
) -> tuple[str, list[EndedCall]]:
    """Let so many calls of a tenant be created at five, and one before and one after them."""
    org_id = await an_organization(engine, 100_000)
    earlier, later, *calls = calls_on(day, await an_assistant(engine, org_id), count + 2)
    await vapi.lists(earlier, created_at=day.since + FIVE_O_CLOCK - timedelta(milliseconds=1))
    await vapi.lists(later, created_at=day.since + FIVE_O_CLOCK + timedelta(milliseconds=1))
    await vapi.lists(*calls, created_at=day.since + FIVE_O_CLOCK)
    return org_id, [earlier, *calls, later]


async def is_complete(report: Report, engine: AsyncEngine, org_id: str, calls: Any) -> bool:
    assert report.total.checked == len(calls)
    return set(await keys_of(engine, org_id)) == {f"call:{one.call_id}" for one in calls}


async def test_all_calls_of_one_instant_are_compared_and_those_around_it(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id, calls = await at_once(engine, vapi, day, 9)
    await bill(engine, *calls[3:])
    report = await reconciler.reconcile(day)
    assert (report.total.missing, report.total.recovered) == (3, 3)
    assert await is_complete(report, engine, org_id, calls)


async def test_so_it_is_with_calls_that_were_scheduled_before_the_window(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id = await an_organization(engine, 100_000)
    assistant = await an_assistant(engine, org_id)
    calls = calls_on(day, assistant, 6)
    long_over = replace(
        calls[0],
        call_id=f"{calls[0].call_id}-long-over",
        started_at=day.since - timedelta(hours=2),
        ended_at=day.since - timedelta(hours=1),
    )
    scheduled = day.since - timedelta(days=3)
    await vapi.lists(*calls, long_over, created_at=scheduled)
    report = await reconciler.reconcile(day)
    assert await is_complete(report, engine, org_id, calls)


async def held(vapi: VapiStandIn, spare: int) -> None:
    """Let the page after so many be held, until nothing fails any more."""
    await vapi.second_list_misbehaves(kind="delay", seconds=600, spare=spare)


async def is_held(vapi: VapiStandIn) -> bool:
    faults = (await vapi.http.get("/_control/faults")).raise_for_status().json()["faults"]
    return any(one["hits"] > one["spare"] for one in faults)


async def test_one_that_is_added_while_it_pages_is_not_lost(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id, calls = await at_once(engine, vapi, day, 6)
    await held(vapi, 2)
    handle = await reconciler.start(day)
    await eventually(lambda: is_held(vapi))
    added = replace(calls[2], call_id=f"{calls[2].call_id}-added")
    await vapi.lists(added, created_at=day.since + FIVE_O_CLOCK)
    await vapi.behave()
    report = await ended(handle)
    assert report is not None
    assert await is_complete(report, engine, org_id, [*calls, added])


async def test_none_is_passed_over_because_another_was_deleted_while_it_pages(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id, calls = await at_once(engine, vapi, day, 6)
    [_, gone, *_] = (await vapi.second_list(day.since + FIVE_O_CLOCK))["results"]
    await held(vapi, 1)
    handle = await reconciler.start(day)
    await eventually(lambda: is_held(vapi))
    await vapi.delete(gone["id"])
    await vapi.behave()
    report = await ended(handle)
    assert report is not None
    left = [one for one in calls if one.call_id != gone["id"]]
    assert await is_complete(report, engine, org_id, left)


async def test_pages_in_no_order_are_read_until_all_were_seen(
    reconciler: Reconciler,
    engine: AsyncEngine,
    vapi: VapiStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walking, "WALKS", 100)
    day = a_day()
    org_id, calls = await at_once(engine, vapi, day, 7)
    await vapi.pages_misbehave(shuffled=True)
    report = await reconciler.reconcile(day)
    assert await is_complete(report, engine, org_id, calls)


async def no_further(
    reconciler: Reconciler, vapi: VapiStandIn, day: Window, said: str
) -> WorkflowHandle[Any, Report | None]:
    """Start a run that parks, and let Vapi behave again."""
    handle = await reconciler.start(day)
    await until_parked(handle, "listing_stuck")
    assert f"no way past them: {said}" in await page(handle)
    await vapi.behave()
    return handle


@pytest.mark.parametrize("status", [400, 404])
async def test_without_a_second_list_the_run_parks(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, status: int
) -> None:
    day = a_day()
    await at_once(engine, vapi, day, 6)
    await vapi.second_list_misbehaves(kind="status", status=status, times=None)
    handle = await no_further(reconciler, vapi, day, f"GET /v2/call answers {status}")
    await handle.terminate()


@pytest.mark.parametrize(("how", "shown"), [("stuck", "2 of 6"), ("empty", "0 of 4")])
async def test_a_second_list_that_shows_too_few_parks_the_run_which_goes_on_later(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, how: str, shown: str
) -> None:
    day = a_day()
    org_id, calls = await at_once(engine, vapi, day, 6)
    await vapi.pages_misbehave(**{how: True})
    handle = await no_further(reconciler, vapi, day, f"GET /v2/call shows {shown}, however often")
    await handle.signal("reprocess", "Ann: Vapi is well again")
    report = await ended(handle)
    assert report is not None
    assert await is_complete(report, engine, org_id, calls)


async def test_more_calls_of_one_instant_than_are_plausible_park_the_run(
    reconciler: Reconciler,
    engine: AsyncEngine,
    vapi: VapiStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walking, "MOST_OF_ONE_INSTANT", 5)
    day = a_day()
    await at_once(engine, vapi, day, 6)
    handle = await no_further(reconciler, vapi, day, "GET /v2/call has 6 of them")
    await handle.terminate()


async def test_a_second_list_that_fails_for_a_moment_is_asked_again(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn
) -> None:
    day = a_day()
    org_id, calls = await at_once(engine, vapi, day, 6)
    await vapi.second_list_misbehaves(kind="status", status=503, times=1)
    report = await reconciler.reconcile(day)
    assert await is_complete(report, engine, org_id, calls)
