"""What people are told of reconciliations in Slack: one alert a crossing, and when it is over."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.reconciliation.runs import ReconciliationActivities
from store.alerts import alerts
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization
from tests.support.faults import Whom, refuse
from tests.support.parked_workflows import ended, reprocess, until_parked
from tests.support.reconciled_days import Reconciler, a_day, bill, calls_of_today, calls_on
from tests.support.stand_ins import SlackStandIn, VapiStandIn


@pytest.fixture(scope="module")
def reconciler(worker: Client, engine: AsyncEngine) -> Reconciler:
    return Reconciler(worker, engine)


async def told(slack: SlackStandIn, about: str, count: int) -> list[str]:
    """Wait for this many messages, let more come if they will, and answer with all."""

    async def enough() -> list[dict[str, Any]] | None:
        found = await slack.messages(about)
        return found if len(found) >= count else None

    if count:
        await eventually(enough)
    return [message["text"] for message in await slack.messages(about)]


async def test_an_organisation_below_the_mark_is_told_once_and_so_is_its_recovery(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, slack: SlackStandIn
) -> None:
    org_id = await an_organization(engine, 100_000)
    assistant = await an_assistant(engine, org_id)
    about = f"organisation {org_id}"
    known, missed, lost_again, also_known = calls_of_today(assistant, 4)
    await bill(engine, known)
    await vapi.lists(known, missed)
    await reconciler.daily()
    [alert] = await told(slack, about, 1)
    assert alert == "High: Only 50.00 % of Vapi's webhooks arrived (less than 95 %)"

    await bill(engine, also_known)
    await vapi.lists(lost_again, also_known)
    await reconciler.daily()
    assert await told(slack, about, 1) == [alert]

    await reconciler.daily()
    assert await told(slack, about, 2) == [
        alert,
        "Info: 100.00 % of Vapi's webhooks arrive again",
    ]
    await reconciler.daily()
    assert len(await told(slack, about, 2)) == 2


@pytest.mark.parametrize("missed", [5, 6])
async def test_exactly_95_percent_is_good_enough_for_an_organisation(
    reconciler: Reconciler,
    engine: AsyncEngine,
    vapi: VapiStandIn,
    slack: SlackStandIn,
    missed: int,
) -> None:
    org_id = await an_organization(engine, 100_000)
    listed = calls_of_today(await an_assistant(engine, org_id), 100)
    await bill(engine, *listed[missed:])
    await vapi.lists(*listed)
    report = await reconciler.daily()
    [tally] = [one for one in report.organizations if one.org_id == org_id]
    assert (tally.checked, tally.missing, tally.recovered) == (100, missed, missed)
    expected = 1 if missed > 5 else 0
    assert len(await told(slack, f"organisation {org_id}", expected)) == expected


async def test_calls_recovered_while_webhooks_are_reliable_are_told_as_information(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, slack: SlackStandIn
) -> None:
    day = a_day()
    listed = calls_on(day, await an_assistant(engine, await an_organization(engine, 10_000)), 20)
    await bill(engine, *listed[1:])
    await vapi.lists(*listed)
    await reconciler.reconcile(day)
    about = f"From {day.since:%Y-%m-%d %H:%M}"
    assert await told(slack, about, 1) == ["Info: 1 recovered by the reconciliation with Vapi"]
    [message] = await slack.messages(about)
    assert "95.00 %" in str(message)
    assert "0.56 GBP" in str(message)


async def test_a_run_by_hand_below_the_mark_is_told_and_raises_no_alarm(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, slack: SlackStandIn
) -> None:
    org_id = await an_organization(engine, 10_000)
    day = a_day()
    await vapi.lists(*calls_on(day, await an_assistant(engine, org_id), 2))
    await reconciler.reconcile(day)
    about = f"From {day.since:%Y-%m-%d %H:%M}"
    assert await told(slack, about, 1) == [
        "High: Only 0.00 % of Vapi's webhooks arrived (less than 95 %)"
    ]
    assert await slack.messages(f"organisation {org_id}") == []


async def test_a_dry_run_tells_nobody(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, slack: SlackStandIn
) -> None:
    day = a_day()
    await vapi.lists(*calls_on(day, await an_assistant(engine, await an_organization(engine)), 2))
    await reconciler.reconcile(day, dry_run=True)
    assert await slack.messages(f"From {day.since:%Y-%m-%d %H:%M}") == []


async def test_a_daily_run_that_fails_is_told_once_and_so_is_that_it_went_through(
    reconciler: Reconciler, vapi: VapiStandIn, slack: SlackStandIn
) -> None:
    before = len(await slack.messages("The reconciliation with Vapi"))
    await vapi.list_misbehaves(kind="status", status=401, times=6)
    handle = await reconciler.start_daily()
    await until_parked(handle, "fault")
    assert (await reprocess(handle, "Ann: is it back?")).state == "running"
    await until_parked(handle, "fault")
    await reprocess(handle, "Ann: the key is right now")
    await ended(handle)
    messages = await told(slack, "The reconciliation with Vapi", before + 2)
    assert messages[before:] == [
        "Critical: The reconciliation with Vapi failed",
        "Info: The reconciliation with Vapi went through",
    ]


async def test_slack_being_down_fails_no_run_and_loses_no_alert(
    reconciler: Reconciler, engine: AsyncEngine, vapi: VapiStandIn, slack: SlackStandIn
) -> None:
    day = a_day()
    await vapi.lists(*calls_on(day, await an_assistant(engine, await an_organization(engine)), 2))
    await slack.misbehave(kind="status", status=503, times=2)
    report = await reconciler.reconcile(day)
    assert report.total.recovered == 2
    assert len(await told(slack, f"From {day.since:%Y-%m-%d %H:%M}", 1)) == 1


async def test_a_daily_run_that_did_not_happen_in_26_hours_is_critical(
    engine_apart: AsyncEngine,
) -> None:
    await _watch(engine_apart, datetime(2026, 11, 2, tzinfo=UTC))
    assert await _waiting(engine_apart) == []

    first = await _first_organization(engine_apart)
    for hours in (1, 26, 27, 28, 50):
        await _watch(engine_apart, first + timedelta(hours=hours))
    assert await _waiting(engine_apart) == [
        "No reconciliation with Vapi for 27 hours",
        "No reconciliation with Stripe for 27 hours",
    ]


async def test_runs_with_a_provider_that_cannot_be_looked_at_hide_no_other_s(
    engine_apart: AsyncEngine,
) -> None:
    first = await _first_organization(engine_apart)
    of_vapi = "NEW.alarm = 'reconciliation-overdue:vapi'"
    await refuse(engine_apart, "INSERT", "alarms", of_vapi, Whom.ONE)
    with pytest.raises(DBAPIError):
        await _watch(engine_apart, first + timedelta(hours=27))
    assert await _waiting(engine_apart) == ["No reconciliation with Stripe for 27 hours"]


async def _watch(engine: AsyncEngine, now: datetime) -> None:
    await ActivityEnvironment().run(ReconciliationActivities(engine).watch_schedules, now)


async def _first_organization(engine: AsyncEngine) -> datetime:
    """Make the first organisation; return when that was."""
    await an_organization(engine)
    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE organizations SET created_at = '2026-11-02T03:00:00Z'")
        )
    return datetime(2026, 11, 2, 3, tzinfo=UTC)


async def _waiting(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return [alert.title for alert in await alerts.pending(connection, 100)]
