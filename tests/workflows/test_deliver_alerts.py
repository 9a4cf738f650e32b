"""Alerts as they reach people: once, in order, however Slack is, and nobody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker

import activities.alerts.outbox
from billing.alerts.alert import Alert
from settings import Settings
from store.alerts import alerts
from tests.support.alerting_workflow import Raising
from tests.support.eventually import eventually
from tests.support.factories import an_alert, unique
from tests.support.parked_workflows import ended, tries
from tests.support.stand_ins import SlackStandIn
from tests.workflows.conftest import SkippingWorld
from worker import sandbox
from workflows.deliver_alerts import DeliverAlerts
from workflows.shared import alert_requests
from workflows.shared.options import BILLING_QUEUE

RAISING_QUEUE = "tests-raising"


@pytest.fixture(scope="module")
async def raising(worker: Client) -> AsyncIterator[Client]:
    """Where processes run that raise alerts, beside the real worker."""
    async with Worker(
        worker, task_queue=RAISING_QUEUE, workflows=[Raising], workflow_runner=sandbox()
    ):
        yield worker


async def store(engine: AsyncEngine, *told: Alert) -> None:
    async with engine.begin() as connection:
        for alert in told:
            await alerts.tell(connection, alert)


async def raise_alert(raising: Client, engine: AsyncEngine, alert: Alert) -> None:
    """Let a process store an alert, have it delivered, and end."""
    await store(engine, alert)
    handle = await raising.start_workflow(
        Raising.run, alert.key, id=unique("raising"), task_queue=RAISING_QUEUE
    )
    await ended(handle)


async def texts(slack: SlackStandIn, mark: str) -> list[str]:
    return [message["text"] for message in await slack.messages(mark)]


async def until_told(slack: SlackStandIn, mark: str, count: int) -> list[str]:
    async def enough() -> list[str] | None:
        found = await texts(slack, mark)
        return found if len(found) >= count else None

    found = await eventually(enough)
    assert found is not None
    return found


async def until_ended(temporal: Client) -> Any:
    """Wait until nobody delivers any more; answers with the handle of the last who did."""
    handle = temporal.get_workflow_handle(alert_requests.WORKFLOW_ID)

    async def over() -> bool:
        return (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED

    assert await eventually(over)
    return handle


async def test_an_alert_reaches_slack_with_a_link_to_where_to_look(
    raising: Client, engine: AsyncEngine, slack: SlackStandIn, settings: Settings
) -> None:
    mark = unique("mark")
    await raise_alert(raising, engine, replace(an_alert(mark), workflow_id=f"x/{mark}"))
    assert await until_told(slack, mark, 1) == [f"High: {mark}"]
    [message] = await slack.messages(mark)
    page = f"{settings.temporal_ui_url}/namespaces/billing/workflows/x%2F{mark}"
    assert message["blocks"][-1]["elements"][-1]["text"] == f"<{page}|x/{mark}>"
    await until_ended(raising)


async def test_while_slack_is_down_nobody_waits_and_later_everything_comes_once_in_order(
    raising: Client, engine: AsyncEngine, slack: SlackStandIn
) -> None:
    mark = unique("mark")
    await slack.misbehave(kind="status", status=503, times=None)
    for number in range(4):
        await raise_alert(raising, engine, an_alert(f"{number} {mark}"))
    assert await texts(slack, mark) == []
    await slack.behave()
    await until_told(slack, mark, 4)
    await until_ended(raising)
    assert await texts(slack, mark) == [f"High: {number} {mark}" for number in range(4)]


async def test_a_slack_that_is_busy_is_asked_again_when_it_says(
    raising: Client, engine: AsyncEngine, slack: SlackStandIn
) -> None:
    mark = unique("mark")
    await slack.misbehave(kind="status", status=429, retry_after=2)
    await raise_alert(raising, engine, an_alert(mark))
    handle = raising.get_workflow_handle(alert_requests.WORKFLOW_ID)

    async def failure() -> str | None:
        [*running] = (await handle.describe()).raw_description.pending_activities
        return str(running[0].last_failure) if running and running[0].attempt > 1 else None

    shown = await eventually(failure)
    assert shown is not None
    assert "Slack answered 429" in shown
    assert "/services/" not in shown
    assert await until_told(slack, mark, 1) == [f"High: {mark}"]


async def test_many_who_raise_alerts_at_once_have_each_told_once(
    raising: Client, engine: AsyncEngine, slack: SlackStandIn
) -> None:
    mark = unique("mark")
    told = [an_alert(f"{number:02} {mark}") for number in range(20)]
    await asyncio.gather(*(raise_alert(raising, engine, alert) for alert in told))
    await until_told(slack, mark, 20)
    handle = await until_ended(raising)
    assert sorted(await texts(slack, mark)) == [f"High: {alert.title}" for alert in told]
    assert await tries(handle, "deliver") <= 20


async def test_a_person_may_start_a_delivery_and_without_alerts_it_ends_at_once(
    raising: Client,
) -> None:
    handle = await raising.start_workflow(
        "DeliverAlerts", id=alert_requests.WORKFLOW_ID, task_queue=BILLING_QUEUE
    )
    assert await ended(handle) == 0


async def test_a_long_delivery_begins_anew_and_misses_nothing(
    skipping: SkippingWorld, slack: SlackStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.outbox, "BATCH", 1)
    mark = unique("mark")
    told = [an_alert(f"{number:02} {mark}") for number in range(30)]
    await store(skipping.engine, *told)
    handle = await skipping.temporal.start_workflow(
        DeliverAlerts.run, 0, **alert_requests.start_options()
    )
    assert await ended(handle) == 30
    assert await texts(slack, mark) == [f"High: {alert.title}" for alert in told]
    latest = skipping.temporal.get_workflow_handle(alert_requests.WORKFLOW_ID)
    assert (await latest.describe()).run_id != handle.first_execution_run_id
