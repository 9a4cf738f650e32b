"""Is it alive, is it ready: the answers that monitoring reads, without a key."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import event, func, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.organizations import Scope
from store.alerts import alerts
from store.schema import webhook_events
from tests.conftest import NewDatabase
from tests.support.answers import eventually
from tests.support.api_server import LIMITS, Api, serving
from tests.support.factories import an_alert, an_organization
from tests.support.old_server import is_made_old
from tests.support.signed_webhooks import report
from workflows.deliver_alerts import DeliverAlerts
from workflows.shared import alert_requests

# What version 0.1 answers.
FIELDS = {
    "status": None,
    "services": {"database", "temporal", "worker", "webhook_inbox", "alerts"},
    "uptime_seconds": None,
    "inbox": {"waiting", "oldest_seconds"},
    "alerts": {"waiting", "oldest_seconds", "given_up"},
    "workflows": {"running", "parked"},
}


@pytest.fixture
async def all_told(worker: Client) -> None:
    """Nothing that other tests left in the outbox waits there any more."""
    await worker.execute_workflow(
        DeliverAlerts.run,
        0,
        start_signal=alert_requests.AGAIN,
        start_signal_args=["the test"],
        **alert_requests.start_options(),
    )


async def test_a_whole_system_is_ok_and_ready(working_api: Api, all_told: None) -> None:
    async def is_ok() -> bool:
        health = (await working_api.anonymous.get("/health")).json()
        return bool(health["status"] == "ok")

    await eventually(is_ok)
    health = (await working_api.anonymous.get("/health")).json()
    assert set(health["services"].values()) == {"ok"}
    assert health["uptime_seconds"] >= 0
    ready = await working_api.anonymous.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "problems": []})
    told = (await working_api.operator.get("/health/ready")).json()
    assert told == {"ready": True, "problems": [], "warnings": []}


async def test_rights_that_it_does_not_need_are_a_warning_and_no_problem(
    engine: AsyncEngine, worker: Client
) -> None:
    """As of an installation of version 0.1, whose one role owns all."""
    async with serving(engine, worker) as api:
        answer = await api.operator.get("/health/ready")
    assert (answer.status_code, answer.json()) == (
        200,
        {"ready": True, "problems": [], "warnings": ["the database role is a superuser"]},
    )


async def test_what_is_parked_is_counted_and_degrades_nothing(
    working_api: Api, all_told: None
) -> None:
    await working_api.send(report("nobody's", 60))

    async def is_seen() -> bool:
        health = (await working_api.anonymous.get("/health")).json()
        return bool(health["workflows"]["parked"] >= 1 and health["status"] == "ok")

    await eventually(is_seen)


async def test_what_waits_in_the_inbox_is_counted_and_an_old_backlog_degrades_it(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    async with serving(engine_apart, temporal) as api:
        webhook = report("nobody's", 60)
        await api.send(webhook)
        assert (await api.anonymous.get("/health")).json()["inbox"]["waiting"] == 1
        long_ago = func.now() - text("interval '5 minutes'")
        async with engine_apart.begin() as connection:
            await connection.execute(update(webhook_events).values(due_at=long_ago))
        answer = await api.anonymous.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["services"]["webhook_inbox"] == "degraded"
        assert answer.json()["inbox"]["oldest_seconds"] >= 300


@pytest.mark.parametrize(
    ("change", "state", "counted"),
    [
        ("raised_at = now() - interval '4 minutes'", "ok", 1),
        ("raised_at = now() - interval '6 minutes'", "degraded", 1),
        ("raised_at = now() - interval '6 minutes', delivered_at = now()", "ok", 0),
        # Without a Slack it is in the log.
        ("delivered_at = now(), problem = 'no Slack is configured'", "ok", 0),
        ("problem = 'Slack answered 404', given_up_at = now()", "degraded", 0),
        ("problem = 'Slack answered 404', given_up_at = now() - interval '25 h'", "ok", 0),
    ],
)
async def test_alerts_that_reach_nobody_degrade_it(
    engine_apart: AsyncEngine, worker: Client, change: str, state: str, counted: int
) -> None:
    async with serving(engine_apart, worker) as api:
        async with engine_apart.begin() as connection:
            await alerts.tell(connection, an_alert())
            await connection.execute(text(f"UPDATE alerts SET {change}"))  # noqa: S608

        async def worker_is_seen() -> bool:
            shown = (await api.anonymous.get("/health")).json()
            return bool(shown["services"]["worker"] == "ok")

        await eventually(worker_is_seen)
        answer = await api.anonymous.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (200, state)
        assert answer.json()["services"]["alerts"] == state
        assert answer.json()["alerts"]["waiting"] == counted


async def test_on_a_schema_it_does_not_know_it_is_not_ready_and_writes_nothing(
    new_database: NewDatabase, engine: AsyncEngine, temporal: Client
) -> None:
    """It may have started while the database was away; then Temporal takes what comes."""
    empty = await new_database()
    async with serving(empty, temporal, operator_key="cw_none_yet") as api:
        ready = await api.anonymous.get("/health/ready")
        assert ready.status_code == 503
        assert "callwallet setup" in ready.json()["problems"][0]
        answer = await api.send(report("nobody's", 60))
        assert (answer.status_code, answer.json()["status"]) == (200, "accepted")


async def test_without_a_key_it_says_what_version_0_1_says_and_no_more(api: Api) -> None:
    for client in (api.anonymous, api.operator):
        found = (await client.get("/health")).json()
        assert {name: set(one) if isinstance(one, dict) else None for name, one in found.items()} \
            == FIELDS  # fmt: skip
    assert (await api.anonymous.get("/health/ready")).json().keys() == {"ready", "problems"}


async def test_what_had_better_be_changed_is_said_to_operators_alone(api: Api) -> None:
    short = "VAPI_WEBHOOK_SECRET has fewer than 16 characters"
    async with serving(api.engine, api.temporal, warnings=[short]) as other:
        tenant = await other.tenant(await an_organization(api.engine))
        wrong = other.with_key("cw_0123456789abcdef_wrong")
        scraper = await other.client(scope=Scope.METRICS)
        assert (await scraper.get("/health/ready")).json()["warnings"][0] == short
        for client in (other.anonymous, tenant, wrong):
            found = (await client.get("/health/ready")).json()
            assert found == {"ready": True, "problems": []}
        told = (await other.operator.get("/health/ready")).json()["warnings"]
        assert told == [short, "the database role is a superuser"]


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
async def test_however_many_ask_the_database_is_asked_once(
    api: Api, engine_apart: AsyncEngine, path: str
) -> None:
    """All are answered by one look, which waits for one connection or two."""
    limits = replace(LIMITS, health_fresh_seconds=3600.0)
    asked, took = 0, []

    def count(*_: object) -> None:
        nonlocal asked
        asked += 1

    event.listen(engine_apart.sync_engine, "before_cursor_execute", count)
    for many in (1, 20):
        async with serving(engine_apart, api.temporal, limits=limits) as other:
            before = asked
            answers = await asyncio.gather(*(other.anonymous.get(path) for _ in range(many)))
            answers += [await other.anonymous.get(path) for _ in range(many)]
            assert {answer.status_code for answer in answers} == {200}
            took.append(asked - before)
    assert took[0] == took[1] > 0


async def test_metrics_are_prometheus_text_for_operators(api: Api) -> None:
    await api.send(report("nobody's", 60))
    answer = await api.operator.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'callwallet_webhooks_total{outcome="accepted",source="vapi"}' in answer.text
    assert "callwallet_webhook_accept_seconds_bucket" in answer.text


async def test_a_server_that_is_too_old_is_not_ready_and_is_named(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    async with serving(engine_apart, temporal) as api:
        await is_made_old(engine_apart)
        ready = await api.anonymous.get("/health/ready")
    assert ready.status_code == 503
    [problem] = ready.json()["problems"]
    assert "PostgreSQL 14.11 is too old" in problem


async def test_a_session_whose_waits_may_not_end_is_not_ready(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    async with serving(engine_apart, temporal) as api:
        async with engine_apart.begin() as connection:
            await connection.execute(text("SET statement_timeout = 0"))
        ready = await api.anonymous.get("/health/ready")
    assert ready.status_code == 503
    [problem] = ready.json()["problems"]
    assert "lack statement_timeout: run `callwallet setup`" in problem
