"""The watch over billing: what people hear of it, once a crossing, and when it cannot look."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from billing.alerts.observation import Observation
from billing.alerts.watch import decide
from billing.ledger.money import Currency, Money
from billing.monitoring import Rate, Rates
from billing.parking.parked_work import ParkedTotal
from processes.namespace import prepare
from settings import Settings
from store.calls import calls
from store.database import clock
from store.organizations import api_keys
from store.schema import webhook_events
from tests.support.eventually import eventually
from tests.support.factories import NOON, an_assistant, an_organization, credit, ended_call, unique
from tests.support.failing_workflow import Failing
from tests.support.inbox_events import accept, report_of
from tests.support.parked_workflows import ended, start_bill, until_parked
from tests.support.stand_ins import SlackStandIn
from tests.support.watch_rounds import Watchman, a_watch_id, connections_refused
from tests.workflows.conftest import World
from wiring import connect_temporal
from workflows.shared import options
from workflows.shared.options import BILLING_QUEUE
from workflows.watch_billing import Watch, WatchBilling

SOON = timedelta(milliseconds=100)


@pytest.fixture(scope="module")
async def nothing_parked(skipping_server: str, settings: Settings) -> Client:
    """A namespace in which nothing is parked and nothing fails."""
    there = {"temporal_address": skipping_server, "temporal_namespace": unique("quiet")}
    client = await connect_temporal(settings.model_copy(update=there))
    await prepare(client)
    return client


@pytest.fixture
def watchman(engine_apart: AsyncEngine, nothing_parked: Client) -> Watchman:
    return Watchman(engine_apart, nothing_parked)


@pytest.fixture(scope="module")
async def watched(world: World) -> World:
    """A world in which only tests look."""
    await world.temporal.get_schedule_handle("watch-billing").pause()
    return world


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long between tries."""
    for named, attempts in ((options.WATCH, 3), (options.WATCH_AGAIN, 0)):
        hurried = RetryPolicy(
            initial_interval=SOON, maximum_interval=2 * SOON, maximum_attempts=attempts
        )
        monkeypatch.setitem(named, "retry_policy", hurried)


async def watch(
    world: World, rounds: int = 1, every: timedelta = SOON
) -> WorkflowHandle[WatchBilling, int]:
    return await world.temporal.start_workflow(
        WatchBilling.run, Watch(rounds, every), id=a_watch_id(), task_queue=BILLING_QUEUE
    )


async def until_told(slack: SlackStandIn, mark: str, times: int = 1) -> list[dict[str, Any]]:
    async def enough() -> list[dict[str, Any]] | None:
        found = await slack.messages(mark)
        return found if len(found) >= times else None

    found = await eventually(enough)
    assert found is not None
    return found


async def events_of(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> int:
    history = await handle.fetch_history()
    return sum(event.event_type == kind for event in history.events)


# ---- a round


async def test_a_round_in_which_all_is_well_tells_nothing(
    engine_apart: AsyncEngine, watchman: Watchman
) -> None:
    assert await watchman.look(NOON) == []
    assistant = await an_assistant(engine_apart, await an_organization(engine_apart, 10_000))
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [ended_call(assistant) for _ in range(30)])
    assert await watchman.look(NOON + timedelta(minutes=5)) == []


async def test_webhooks_that_come_to_nothing_are_told_until_they_are_handled(
    engine_apart: AsyncEngine, watchman: Watchman
) -> None:
    """Nothing of them is late: they are somebody's who will have them in an hour."""
    reports = [report_of(ended_call(ended_at=NOON), due_in_seconds=3600) for _ in range(20)]
    await accept(engine_apart, *reports)
    async with engine_apart.begin() as connection:
        await connection.execute(update(webhook_events).values(received_at=NOON))
    soon, later = NOON + timedelta(minutes=2), NOON + timedelta(minutes=5)
    assert await watchman.look(soon) == [
        "high: Only 0.00 % of the webhooks that came were handled (less than 95 % for 15 minutes)",
        "critical: Calls end and none of them is billed",
    ]
    assert await watchman.look(later) == []
    async with engine_apart.begin() as connection:
        await connection.execute(update(webhook_events).values(status="handled"))
    assert await watchman.look(later + timedelta(minutes=1)) == [
        "info: 100.00 % of the webhooks that came were handled again",
        "info: The alarm about billing is over: there was nothing to judge by for an hour",
    ]


async def test_three_calls_of_which_none_is_billed_are_critical_until_they_are(
    engine_apart: AsyncEngine, watchman: Watchman
) -> None:
    assistant = await an_assistant(engine_apart, await an_organization(engine_apart, 10_000))
    ended_calls = [ended_call(assistant, ended_at=NOON) for _ in range(3)]
    for call in ended_calls:
        await accept(engine_apart, report_of(call))
    soon = NOON + timedelta(minutes=3)
    assert await watchman.look(soon) == ["critical: Calls end and none of them is billed"]
    async with engine_apart.begin() as connection:
        await calls.charge(connection, ended_calls)
    assert await watchman.look(soon + timedelta(minutes=1)) == [
        "info: 100.00 % of the calls that ended are billed again"
    ]


async def test_a_webhook_that_waits_for_a_minute_is_told_until_it_is_handled(
    engine_apart: AsyncEngine, watchman: Watchman
) -> None:
    await accept(engine_apart, report_of(ended_call()))
    assert await watchman.look(NOON) == []
    ago = func.now() - text("interval '61 seconds'")
    async with engine_apart.begin() as connection:
        await connection.execute(update(webhook_events).values(due_at=ago))
    [told] = await watchman.look(NOON)
    assert told.startswith("high: A webhook has waited in the inbox for 61 seconds")
    async with engine_apart.begin() as connection:
        await connection.execute(update(webhook_events).values(status="handled"))
    assert await watchman.look(NOON) == ["info: The inbox is drained again"]


async def test_a_balance_is_told_on_its_way_down_and_when_it_is_well(
    engine_apart: AsyncEngine, watchman: Watchman
) -> None:
    org_id = await an_organization(engine_apart, 600)
    about = f"The balance of {org_id} is"
    assistant, told = await an_assistant(engine_apart, org_id), list[str]()
    for minute in range(20):
        told += await watchman.look(NOON + timedelta(minutes=minute))
        async with engine_apart.begin() as connection:
            await calls.charge(connection, [ended_call(assistant, 65)])
    assert told == [
        f"medium: {about} low: 4.78 GBP",
        f"medium: {about} at 80 % of the debt limit: -4.37 GBP",
        f"medium: {about} at 90 % of the debt limit: -4.98 GBP",
    ]
    await credit(engine_apart, org_id, 5000)
    assert await watchman.look(NOON + timedelta(hours=1)) == [
        f"info: {about} well again: 45.02 GBP"
    ]


async def test_an_operator_s_key_that_is_in_use_is_told_a_week_before_it_ends(
    engine_apart: AsyncEngine, watchman: Watchman
) -> None:
    async with engine_apart.begin() as connection:
        until = await clock.now(connection) + timedelta(days=6)
        key, _ = await api_keys.issue(connection, "Ann's", None, expires_at=until)
    assert await watchman.look(NOON) == [], "nobody uses it"
    async with engine_apart.begin() as connection:
        await api_keys.used(connection, key.key_id)
    told = f"medium: A key of an operator expires on {until:%Y-%m-%d %H:%M} UTC"
    assert await watchman.look(NOON) == [told]
    assert await watchman.look(NOON + timedelta(minutes=1)) == []


async def test_a_round_that_is_tried_again_and_rounds_at_once_tell_nothing_twice(
    engine_apart: AsyncEngine, nothing_parked: Client
) -> None:
    for _ in range(3):
        await an_organization(engine_apart, 100)
    activities = Watchman(engine_apart, nothing_parked).activities

    async def look(now: datetime) -> int:
        return await ActivityEnvironment().run(activities.look, now)

    moments = [NOON + timedelta(seconds=number) for number in range(5)]
    assert sorted(await asyncio.gather(*map(look, moments))) == [0, 0, 0, 0, 3]
    assert [await look(moment) for moment in moments] == [0] * 5


async def test_every_view_that_an_alert_links_to_is_one_that_temporal_takes(
    nothing_parked: Client,
) -> None:
    bad = Rates(Rate(0, 100), Rate(90, 100), Rate(90, 100))
    parked = ParkedTotal("no_tariff", 1, (Money(10**6, Currency.GBP),), NOON)
    seen = Observation(NOON, bad, bad, 0, (parked,), (), 1, ("call/1",))
    good = Rates(Rate(1, 1), Rate(1, 1), Rate(1, 1))
    alone = replace(seen, hour=replace(bad, processing=Rate(1, 1)), quarter=good)
    found = [one.alert for each in (seen, alone) for one in decide(each, frozenset(), 1000)]
    views = {alert.view for alert in found if alert.view is not None}
    assert len(views) == 4
    for view in views:
        assert (await nothing_parked.count_workflows(view)).count >= 0


# ---- the rounds, and Slack


async def test_what_waits_for_a_person_is_told_once_with_a_link_to_all_of_it(
    watched: World, slack: SlackStandIn
) -> None:
    assistant = unique("assistant")
    handles = [await start_bill(watched.temporal, ended_call(assistant)) for _ in range(3)]
    for handle in handles:
        await until_parked(handle, "unknown_assistant")
    assert await ended(await watch(watched, rounds=3)) == 1
    [message] = await until_told(slack, "3 parked as unknown_assistant")
    link = message["blocks"][-1]["elements"][-1]["text"]
    assert (
        "?query=BillingState%3D%22parked%22%20AND%20ParkReason%3D%22unknown_assistant%22|" in link
    )
    for handle in handles:
        await handle.signal("discard", "Ann: nobody's")
        await ended(handle)
    assert await ended(await watch(watched)) == 1
    await until_told(slack, "Nothing is parked as unknown_assistant any more")


async def test_a_workflow_that_cannot_go_on_is_told_and_so_is_that_none_is_left(
    watched: World, slack: SlackStandIn
) -> None:
    queue = unique("failing")
    async with Worker(watched.temporal, task_queue=queue, workflows=[Failing]):
        failing = await watched.temporal.start_workflow(
            Failing.run, id=unique("failing"), task_queue=queue, task_timeout=timedelta(seconds=1)
        )

        async def is_shown() -> bool:
            query = "TemporalReportedProblems IS NOT NULL"
            return bool((await watched.temporal.count_workflows(query)).count)

        await eventually(is_shown)
        await ended(await watch(watched, rounds=2))
        assert len(await until_told(slack, failing.id)) == 1
        await failing.terminate()
        await eventually(lambda: _none_fails(watched))
        await ended(await watch(watched))
    await until_told(slack, "No workflow's tasks fail any more")


async def _none_fails(world: World) -> bool:
    query = "TemporalReportedProblems IS NOT NULL AND ExecutionStatus = 'Running'"
    return not (await world.temporal.count_workflows(query)).count


async def test_a_watch_in_which_nothing_happens_leaves_little_behind(watched: World) -> None:
    handle = await watch(watched, rounds=5)
    assert await ended(handle) == 0
    begun = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED
    assert await events_of(handle, begun) == 1
    assert await events_of(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED) == 6
    assert await events_of(handle, EventType.EVENT_TYPE_TIMER_STARTED) == 4


# ---- when nobody can look


async def test_a_database_that_is_away_is_told_once_past_the_outbox_and_so_is_its_return(
    watched: World, slack: SlackStandIn, in_a_hurry: None
) -> None:
    before = len(await slack.messages("PostgreSQL answers again"))
    async with connections_refused(watched.engine):
        handle = await watch(watched, rounds=3)
        [message] = await until_told(slack, handle.id)
        assert message["text"].startswith("Critical: PostgreSQL does not answer since ")
        await asyncio.sleep(1)
        assert len(await slack.messages(handle.id)) == 1
    await ended(handle)
    assert len(await slack.messages(handle.id)) == 1
    [over] = (await until_told(slack, "PostgreSQL answers again", before + 1))[before:]
    assert "could not be reached" not in str(over)
    assert await events_of(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED) == 1


async def test_what_an_outage_leaves_behind_has_a_minute_before_it_is_told(
    watched: World, slack: SlackStandIn, in_a_hurry: None
) -> None:
    """The first look after an outage only finds out that it is over."""
    org_id = await an_organization(watched.engine, 100)
    async with connections_refused(watched.engine):
        handle = await watch(watched)
        await until_told(slack, handle.id)
    await ended(handle)
    told = await Watchman(watched.engine, watched.temporal).news()
    over, low = told[-2:]
    assert over.startswith("info: PostgreSQL answers again")
    assert low.startswith(f"medium: The balance of {org_id} is low")


async def test_with_slack_away_too_the_outage_is_told_when_it_is_over(
    watched: World, slack: SlackStandIn, in_a_hurry: None
) -> None:
    before = len(await slack.messages("could not be reached to tell"))
    await slack.misbehave(kind="status", status=503, times=None)
    async with connections_refused(watched.engine):
        handle = await watch(watched)
        waits = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED

        async def is_blind() -> bool:
            return bool(await events_of(handle, waits))

        await eventually(is_blind)
        await asyncio.sleep(0.5)
    await ended(handle)
    await slack.behave()
    assert len(await until_told(slack, "could not be reached to tell", before + 1)) == before + 1
    assert await slack.messages(handle.id) == []
