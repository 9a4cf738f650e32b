"""Delivering alerts, over HTTP: in order, at least once, and without ever telling the webhook."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
import structlog
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from structlog.typing import EventDict
from temporalio.api.failure.v1 import Failure
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import activities.alerts.outbox
from activities.alerts.outbox import NO_SLACK, AlertActivities
from activities.alerts.slack import SlackWebhook
from billing.alerts.alert import Alert, AlertDelivery, AlertLevel, AlertRecord
from settings import WorkerSettings
from store.alerts import alerts
from tests.support.factories import an_alert
from tests.support.stand_ins import SlackStandIn
from wiring import set_up_logging, slack_webhook
from workflows.shared.data_converter import DATA_CONVERTER

SECRET = "XXsecretXX"


@asynccontextmanager
async def webhook(base: object, seconds: float = 20) -> AsyncIterator[SlackWebhook]:
    """A webhook whose URL has a secret in it."""
    async with httpx.AsyncClient(timeout=seconds, trust_env=False) as http:
        url = SecretStr(f"{str(base).rstrip('/')}/services/T0/B0/{SECRET}")
        yield SlackWebhook(http, url, "https://ui.example/namespaces/billing/workflows")


@pytest.fixture
async def hook(slack: SlackStandIn) -> AsyncIterator[SlackWebhook]:
    async with webhook(slack.http.base_url) as opened:
        yield opened


@pytest.fixture
def logged(settings: WorkerSettings, caplog: pytest.LogCaptureFixture) -> Iterator[list[EventDict]]:
    """What is logged the way the worker logs: our events; `caplog` has what libraries say."""
    set_up_logging(settings)
    caplog.set_level(logging.DEBUG)
    with capture_logs() as entries:
        yield entries
    structlog.reset_defaults()
    logging.getLogger("httpx").setLevel(logging.NOTSET)


async def stored(engine: AsyncEngine, *told: Alert) -> None:
    async with engine.begin() as connection:
        for alert in told:
            await alerts.tell(connection, alert)


async def deliver(engine: AsyncEngine, slack: SlackWebhook | None) -> AlertDelivery:
    return await ActivityEnvironment().run(AlertActivities(engine, slack).deliver)


async def faulty(engine: AsyncEngine, slack: SlackWebhook) -> ApplicationError:
    """Deliver, and fail for now."""
    with pytest.raises(ApplicationError) as fault:
        await deliver(engine, slack)
    assert not fault.value.non_retryable
    return fault.value


async def records(engine: AsyncEngine) -> list[AlertRecord]:
    """Every alert with what became of it, oldest first."""
    async with engine.connect() as connection:
        return (await alerts.page(connection, None, 100))[::-1]


async def titles(slack: SlackStandIn, *told: Alert) -> list[str]:
    """The headlines of these alerts, as they came."""
    wanted = {f"High: {alert.title}" for alert in told}
    return [one["text"] for one in await slack.messages() if one["text"] in wanted]


def numbered(count: int, about: AsyncEngine) -> list[Alert]:
    """Alerts whose titles are the test's own, for all come to one Slack."""
    return [an_alert(f"{number} of {about.url.database}") for number in range(count)]


async def test_what_waits_is_delivered_oldest_first_and_once(
    engine_apart: AsyncEngine, slack: SlackStandIn, hook: SlackWebhook
) -> None:
    told = numbered(3, engine_apart)
    await stored(engine_apart, *told)
    assert await deliver(engine_apart, hook) == AlertDelivery(3, 0, more=False)
    assert await deliver(engine_apart, hook) == AlertDelivery(0, 0, more=False)
    assert await titles(slack, *told) == [f"High: {alert.title}" for alert in told]
    assert all(one.delivered_at and not one.problem for one in await records(engine_apart))


async def test_a_batch_says_that_there_may_be_more(
    engine_apart: AsyncEngine, hook: SlackWebhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.outbox, "BATCH", 2)
    await stored(engine_apart, *numbered(3, engine_apart))
    assert await deliver(engine_apart, hook) == AlertDelivery(2, 0, more=True)
    assert await deliver(engine_apart, hook) == AlertDelivery(1, 0, more=False)


async def test_slack_takes_an_alert_that_is_too_long_in_every_way(
    engine_apart: AsyncEngine, hook: SlackWebhook
) -> None:
    long = "& long" * 1000
    facts = tuple((f"{number} {long}", long) for number in range(480))
    await stored(engine_apart, Alert("key", AlertLevel.HIGH, long, long, long, facts, long))
    assert await deliver(engine_apart, hook) == AlertDelivery(1, 0, more=False)


@pytest.mark.parametrize(("seconds", "delay"), [(7, timedelta(seconds=7)), (None, None)])
async def test_a_rate_limit_is_a_fault_that_comes_back_when_slack_says(
    engine_apart: AsyncEngine,
    slack: SlackStandIn,
    hook: SlackWebhook,
    seconds: int | None,
    delay: timedelta | None,
) -> None:
    told = numbered(2, engine_apart)
    await stored(engine_apart, *told)
    await slack.misbehave(kind="status", status=429, retry_after=seconds)
    assert (await faulty(engine_apart, hook)).next_retry_delay == delay
    assert await deliver(engine_apart, hook) == AlertDelivery(2, 0, more=False)
    assert await titles(slack, *told) == [f"High: {alert.title}" for alert in told]


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"kind": "reset"}])
async def test_an_outage_is_a_fault_after_which_everything_comes_in_order(
    engine_apart: AsyncEngine, slack: SlackStandIn, hook: SlackWebhook, fault: dict[str, Any]
) -> None:
    told = numbered(2, engine_apart)
    await stored(engine_apart, *told)
    await slack.misbehave(**{"kind": "status", **fault})
    await faulty(engine_apart, hook)
    assert await deliver(engine_apart, hook) == AlertDelivery(2, 0, more=False)
    assert await titles(slack, *told) == [f"High: {alert.title}" for alert in told]


async def test_an_alert_whose_answer_was_lost_comes_again(
    engine_apart: AsyncEngine, slack: SlackStandIn, hook: SlackWebhook
) -> None:
    [alert] = numbered(1, engine_apart)
    await stored(engine_apart, alert)
    await slack.misbehave(kind="reset_after")
    await faulty(engine_apart, hook)
    await deliver(engine_apart, hook)
    assert await titles(slack, alert) == [f"High: {alert.title}"] * 2


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "invalid_payload"), (403, "action_prohibited"), (404, "no_service")],
)
async def test_an_alert_that_slack_refuses_for_good_is_given_up_and_holds_up_no_other(
    engine_apart: AsyncEngine,
    slack: SlackStandIn,
    hook: SlackWebhook,
    status: int,
    said: str,
) -> None:
    refused, other = numbered(2, engine_apart)
    await stored(engine_apart, refused, other)
    await slack.misbehave(kind="status", status=status)
    with capture_logs() as logged:
        assert await deliver(engine_apart, hook) == AlertDelivery(1, 1, more=False)
    assert await titles(slack, refused, other) == [f"High: {other.title}"]
    why = f"Slack answered {status}: {said}"
    assert [one.problem for one in await records(engine_apart)] == [why, None]
    [entry] = logged
    assert (entry["log_level"], entry["key"], entry["problem"]) == ("error", refused.key, why)


async def test_without_slack_an_alert_goes_to_the_log_at_its_level(
    engine_apart: AsyncEngine, logged: list[EventDict]
) -> None:
    told = [an_alert(level=level) for level in AlertLevel]
    await stored(engine_apart, *told)
    assert await deliver(engine_apart, None) == AlertDelivery(4, 0, more=False)
    levels = [entry["log_level"] for entry in logged]
    assert levels == ["info", "warning", "error", "critical"]
    assert [entry["alert"] for entry in logged] == [alert.key for alert in told]
    assert {entry["text"] for entry in logged} == {told[0].text}
    found = await records(engine_apart)
    assert all(one.delivered_at and one.problem == NO_SLACK for one in found)


async def test_there_is_a_slack_if_the_settings_say_so(settings: WorkerSettings) -> None:
    without = settings.model_copy(update={"slack_webhook_url": None})
    async with httpx.AsyncClient() as http:
        assert slack_webhook(settings, http) is not None
        assert slack_webhook(without, http) is None


async def told_of_the_fault(error: BaseException) -> str:
    """All that leaves an activity that failed: for Temporal, for people, and for its log."""
    failure = Failure()
    await DATA_CONVERTER.encode_failure(error, failure)
    return f"{failure} {error!r} {''.join(traceback.format_exception(error))}"


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"status": 429, "retry_after": 1}, {"kind": "reset"}, {"kind": "hang"}],
)
async def test_no_fault_tells_the_secret_of_the_webhook(
    engine_apart: AsyncEngine,
    slack: SlackStandIn,
    logged: list[EventDict],
    caplog: pytest.LogCaptureFixture,
    fault: dict[str, Any],
) -> None:
    await stored(engine_apart, an_alert())
    await slack.misbehave(**{"kind": "status", **fault})
    async with webhook(slack.http.base_url, seconds=0.5) as hook:
        told = await told_of_the_fault(await faulty(engine_apart, hook))
    assert "Slack" in told
    assert SECRET not in f"{told} {logged} {caplog.text}"


async def test_a_slack_that_is_not_there_is_told_without_the_secret(
    engine_apart: AsyncEngine, logged: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    await stored(engine_apart, an_alert())
    async with webhook("http://127.0.0.1:1") as hook:
        fault = await faulty(engine_apart, hook)
    assert str(fault) == "slack_unavailable: Slack cannot be reached: ConnectError"
    assert SECRET not in f"{await told_of_the_fault(fault)} {logged} {caplog.text}"


async def test_a_proxys_page_that_names_the_webhook_is_not_passed_on(
    engine_apart: AsyncEngine, logged: list[EventDict], caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_for = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        writer.write(b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\nDenied: " + asked_for)
        await writer.drain()
        writer.close()

    await stored(engine_apart, an_alert())
    proxy = await asyncio.start_server(refuse, "127.0.0.1")
    host, port = proxy.sockets[0].getsockname()
    async with proxy, webhook(f"http://{host}:{port}") as hook:
        assert await deliver(engine_apart, hook) == AlertDelivery(0, 1, more=False)
    [record] = await records(engine_apart)
    assert record.problem == "Slack answered 403: no reason that can be told"
    assert SECRET not in f"{logged} {caplog.text}"


async def deliver_at_the_third_try(engine: AsyncEngine, hook: SlackWebhook) -> AlertDelivery:
    trying = ActivityEnvironment()
    trying.info = replace(trying.info, attempt=3)
    return await trying.run(AlertActivities(engine, hook).deliver)


async def test_an_alert_that_alone_makes_slack_fail_holds_up_no_other(
    engine_apart: AsyncEngine, slack: SlackStandIn, hook: SlackWebhook
) -> None:
    """It is tried again, and the rest has been told."""
    told = numbered(3, engine_apart)
    await stored(engine_apart, *told)
    await slack.misbehave(kind="status", status=500)
    with pytest.raises(ApplicationError):
        await deliver_at_the_third_try(engine_apart, hook)
    assert await titles(slack, *told) == [f"High: {alert.title}" for alert in told[1:]]
    assert await deliver(engine_apart, hook) == AlertDelivery(1, 0, more=False)


async def test_two_alerts_that_make_slack_fail_are_an_outage(
    engine_apart: AsyncEngine, slack: SlackStandIn, hook: SlackWebhook
) -> None:
    told = numbered(3, engine_apart)
    await stored(engine_apart, *told)
    await slack.misbehave(kind="status", status=500, times=2)
    with pytest.raises(ApplicationError):
        await deliver_at_the_third_try(engine_apart, hook)
    assert await titles(slack, *told) == []


@pytest.mark.parametrize("edit", ["level = 'urgent'", "facts = '[[1]]'", "facts = '7'"])
async def test_an_alert_that_was_edited_is_told_all_the_same(
    engine_apart: AsyncEngine, slack: SlackStandIn, hook: SlackWebhook, edit: str
) -> None:
    told = numbered(2, engine_apart)
    await stored(engine_apart, *told)
    async with engine_apart.begin() as connection:
        await connection.execute(
            text(f"UPDATE alerts SET {edit} WHERE key = :key"),  # noqa: S608
            {"key": told[0].key},
        )
    assert await deliver(engine_apart, hook) == AlertDelivery(2, 0, more=False)
    assert await titles(slack, *told) == [f"High: {alert.title}" for alert in told]
