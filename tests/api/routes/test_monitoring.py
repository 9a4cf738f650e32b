"""How well it goes, as an operator reads it and as Prometheus scrapes it."""

import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api import keys
from api.monitoring.monitor import Monitor
from billing.ledger.audit import Audit, Check, Flaw
from devstack.stack import Stack
from settings import Settings
from store.calls import calls
from store.database import engine as store_engine
from store.ledger import audit
from store.schema import webhook_events
from tests.support.answers import eventually, parked, problem, settled
from tests.support.api_server import Api, serving
from tests.support.factories import NOON, an_assistant, an_organization, ended_call, unique
from tests.support.migrations import set_up
from tests.support.signed_webhooks import Webhook, call_id_of, message, with_bearer
from wiring import connect_temporal

AGO = timedelta(minutes=5)
Labels = tuple[tuple[str, str], ...]
# It is two seconds; a busy machine takes some more, and what hangs never ends.
LONGEST_SECONDS = 30.0
GAUGES_OF_DATABASE = {
    "callwallet_success_ratio",
    "callwallet_inbox_waiting",
    "callwallet_inbox_oldest_seconds",
    "callwallet_recharge_attempts",
    "callwallet_alerts_undelivered",
    "callwallet_alerts_oldest_seconds",
}


@dataclass(frozen=True)
class Scraped:
    """What /metrics has: every value by its name and labels."""

    values: Mapping[tuple[str, Labels], float]

    def __getitem__(self, name: str) -> float:
        return self.values[name, ()]

    def of(self, name: str, **labels: str) -> float:
        return self.values[name, tuple(sorted(labels.items()))]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.values}


async def scrape(client: httpx.AsyncClient) -> Scraped:
    """Scrape when all is up."""
    return await scraped_with(client, database=1, temporal=1)


def parsed(exposed: str) -> Scraped:
    return Scraped(
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(exposed)
            for sample in family.samples
        }
    )


async def scraped_with(client: httpx.AsyncClient, *, database: int, temporal: int) -> Scraped:
    """Scrape until /metrics has seen what is up and what is away, and in time."""
    found: list[Scraped] = []

    async def has_seen() -> bool:
        began = time.monotonic()
        answer = await client.get("/metrics")
        assert time.monotonic() - began < LONGEST_SECONDS
        if answer.is_success:
            found.append(parsed(answer.text))
        ups = ("callwallet_database_up", "callwallet_temporal_up")
        return bool(found) and [found[-1][name] for name in ups] == [database, temporal]

    await eventually(has_seen)
    return found[-1]


def a_report(assistant_id: str, ended_at: datetime) -> Webhook:
    """The end-of-call-report of a minute's call."""
    call_id = unique("call")
    body = message(
        "end-of-call-report",
        call_id,
        call={"id": call_id, "assistantId": assistant_id},
        startedAt=(ended_at - timedelta(minutes=1)).isoformat(),
        endedAt=ended_at.isoformat(),
    )
    return with_bearer(body, f"{call_id}:end-of-call-report")


async def clock(engine: AsyncEngine) -> datetime:
    async with engine.connect() as connection:
        return (await connection.execute(select(func.now()))).scalar_one().astimezone(UTC)


async def came_a_while_ago(engine: AsyncEngine, webhooks: list[Webhook]) -> None:
    keys = [webhook.key for webhook in webhooks]
    came = update(webhook_events).where(webhook_events.c.key.in_(keys))
    async with engine.begin() as connection:
        await connection.execute(came.values(received_at=func.now() - AGO))


async def a_charged_call(engine: AsyncEngine, unbilled: int = 0) -> str:
    """An organisation with a call that was charged, and others that were not."""
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    ended_at = await clock(engine) - AGO
    charged, *others = [ended_call(assistant, ended_at=ended_at) for _ in range(1 + unbilled)]
    contradicted = [replace(one, reported_seconds=Decimal(999)) for one in others]
    async with engine.begin() as connection:
        await calls.charge(connection, [charged, *contradicted])
    return org_id


# ---- read by an operator


async def test_an_operator_reads_how_real_traffic_went(working_api: Api) -> None:
    engine = working_api.engine
    org_id = await an_organization(engine, 1000)
    ended_at = await clock(engine) - AGO
    good = [a_report(await an_assistant(engine, org_id), ended_at) for _ in range(3)]
    nobodys = a_report(unique("nobody's"), ended_at)
    for webhook in (*good, nobodys):
        await working_api.send(webhook)
    for webhook in good:
        await settled(working_api, call_id_of(webhook))
    await parked(working_api, call_id_of(nobodys), "unknown_assistant")
    await came_a_while_ago(engine, [*good, nobodys])

    async def is_listed() -> bool:
        answer = (await working_api.operator.get("/v1/monitoring")).raise_for_status().json()
        return any(one["reason"] == "unknown_assistant" for one in answer["parked"])

    await eventually(is_listed)
    query = {"org_id": org_id}
    answer = (await working_api.operator.get("/v1/monitoring", params=query)).json()
    [organization] = answer["organizations"]
    everything = {"good": 3, "total": 3, "percent": "100.00"}
    for window in ("15m", "1h", "24h"):
        rates = dict.fromkeys(("delivery", "processing", "billing"), everything)
        assert organization["rates"][window] == {**rates, "unowned": 0}
        total = answer["rates"][window]
        assert total["processing"]["good"] >= 4
        assert total["billing"]["good"] < total["billing"]["total"]
        assert total["unowned"] >= 1
    assert {one["source"] for one in answer["inbox"]} == {"stripe", "twilio", "vapi"}
    assert {one["source"] for one in answer["reconciliations"]} == {"stripe", "vapi"}
    assert answer["recharges"].keys() >= {"succeeded", "declined"}
    assert answer["alerts"].keys() == {"waiting", "oldest_seconds", "given_up"}
    assert answer["notes"] == []


async def test_the_worst_organizations_come_first_and_no_more_than_asked_for(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    worst = await a_charged_call(engine_apart, unbilled=3)
    bad = await a_charged_call(engine_apart, unbilled=1)
    well = await a_charged_call(engine_apart)
    async with serving(engine_apart, temporal) as api:
        answer = (await api.operator.get("/v1/monitoring")).json()
        assert [one["org_id"] for one in answer["organizations"]] == [worst, bad, well]
        assert answer["organizations"][0]["rates"]["15m"]["billing"]["percent"] == "25.00"
        two = (await api.operator.get("/v1/monitoring", params={"limit": 2})).json()
        assert [one["org_id"] for one in two["organizations"]] == [worst, bad]
        none = (await api.operator.get("/v1/monitoring", params={"org_id": "of-nobody"})).json()
        assert none["organizations"] == []
        assert none["rates"] == answer["rates"]


async def test_only_operators_read_it(api: Api) -> None:
    tenant = await api.tenant(await an_organization(api.engine))
    for path in ("/v1/monitoring", "/metrics"):
        problem(await tenant.get(path), 403, "forbidden")
        problem(await api.anonymous.get(path), 401, "unauthorized")
        problem(await api.with_key("cw_made_up").get(path), 401, "unauthorized")


async def test_what_was_let_in_is_let_in_until_it_expires_though_nobody_can_be_asked(
    engine: AsyncEngine, temporal: Client
) -> None:
    monitor, moment = Monitor(engine, temporal), NOON
    monitor.remember("a key", moment)
    monitor.remember("another", None)
    before = moment - timedelta(seconds=1)
    assert [monitor.remembers(one, before) for one in ("a key", "another", "none")] == [
        True, True, False,
    ]  # fmt: skip
    assert [monitor.remembers(one, moment) for one in ("a key", "another")] == [False, True]


async def test_an_organization_that_cannot_be_is_invalid(api: Api) -> None:
    answer = await api.operator.get("/v1/monitoring", params={"org_id": "\x00"})
    problem(answer, 422, "invalid")


# ---- scraped by Prometheus


async def test_every_gauge_says_what_the_database_and_temporal_say(
    engine_apart: AsyncEngine, worker: Client, working_api: Api
) -> None:
    """Over a database of its own; what is parked is the namespace's."""
    org_id = await a_charged_call(engine_apart, unbilled=1)
    flaws = (Flaw(Check.BALANCE, "acme", "it is 1"),)
    async with engine_apart.begin() as connection:
        began = await clock(engine_apart)
        await audit.record(connection, Audit(began, wallets=1, entries=1, flaws=flaws))
    short = a_report(await an_assistant(working_api.engine, await a_poor_one(working_api)), began)
    await working_api.send(short)
    await parked(working_api, call_id_of(short), "debt_limit")

    async def is_parked() -> bool:
        async with serving(engine_apart, worker) as api:
            return ("callwallet_parked", (("reason", "debt_limit"),)) in (
                await scrape(api.operator)
            ).values

    await eventually(is_parked)
    async with serving(engine_apart, worker) as api:
        scraped = await scrape(api.operator)
    assert scraped.names >= GAUGES_OF_DATABASE
    for window in ("15m", "1h", "24h"):
        assert scraped.of("callwallet_success_ratio", rate="billing", window=window) == 0.5
        assert scraped.of("callwallet_success_ratio", rate="processing", window=window) == 1
        of_it = {"rate": "billing", "window": window, "org_id": org_id}
        assert scraped.of("callwallet_organization_success_ratio", **of_it) == 0.5
    assert scraped["callwallet_audit_flaws"] == 1
    assert scraped["callwallet_audit_timestamp_seconds"] == pytest.approx(began.timestamp(), abs=60)
    attempts = {"state": "declined", "window": "24h"}
    assert scraped.of("callwallet_recharge_attempts", **attempts) == 0
    assert scraped.of("callwallet_parked_minor", reason="debt_limit", currency="gbp") >= 56
    assert (scraped["callwallet_database_up"], scraped["callwallet_temporal_up"]) == (1, 1)


async def a_poor_one(api: Api) -> str:
    return await an_organization(api.engine, debt_limit_minor=0)


async def test_a_ratio_of_an_organization_is_there_for_what_it_had(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    """No webhook came for its call, so there is no rate of processing to speak of."""
    org_id = await a_charged_call(engine_apart)
    async with serving(engine_apart, temporal) as api:
        scraped = await scrape(api.operator)
    found = {
        dict(labels)["rate"]
        for name, labels in scraped.values
        if name == "callwallet_organization_success_ratio" and ("org_id", org_id) in labels
    }
    assert found == {"delivery", "billing"}


async def test_scrapes_that_come_together_are_one_read(
    engine_apart: AsyncEngine, temporal: Client
) -> None:
    """What happens in between is told a little later."""
    async with serving(engine_apart, temporal) as api:
        assert (await scrape(api.operator))["callwallet_inbox_waiting"] == 0
        await api.send(a_report(unique("nobody's"), await clock(engine_apart)))
        assert (await scrape(api.operator))["callwallet_inbox_waiting"] == 0
        assert (await api.operator.get("/v1/monitoring")).json()["inbox"][-1]["waiting"] == 1


# ---- when something is away


@dataclass(frozen=True)
class World:
    """A database that may be stopped, and an API over it whose Temporal may be away."""

    stack: Stack
    api: Api
    without_temporal: Api


@pytest.fixture(scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, settings: Settings, temporal: Client
) -> AsyncIterator[World]:
    async with AsyncExitStack() as opened:
        state = tmp_path_factory.mktemp("monitored")
        stack = await opened.enter_async_context(Stack(state, parts=("postgres",)))
        engine = store_engine.connect(stack.postgres.url(), application_name="monitored")
        opened.push_async_callback(engine.dispose)
        await set_up(engine)
        nowhere = settings.model_copy(update={"temporal_address": "127.0.0.1:9"})
        away = await connect_temporal(nowhere, lazy=True)
        api = await opened.enter_async_context(serving(engine, temporal))
        without = await opened.enter_async_context(serving(engine, away))
        yield World(stack, api, without)


async def test_without_temporal_all_is_told_but_what_is_parked(world: World) -> None:
    scraped = await scraped_with(world.without_temporal.operator, database=1, temporal=0)
    assert scraped.names >= GAUGES_OF_DATABASE
    assert "callwallet_parked" not in scraped.names
    answer = (await world.without_temporal.operator.get("/v1/monitoring")).raise_for_status()
    assert answer.json()["parked"] is None
    assert "Temporal does not answer" in answer.json()["notes"][0]


async def test_figures_that_take_too_long_hold_up_no_scrape(world: World, temporal: Client) -> None:
    """The database answers, but not with those."""
    async with serving(world.api.engine, temporal) as api:
        async with world.api.engine.begin() as connection:
            await connection.execute(text("LOCK TABLE webhook_events"))
            scraped = await scrape(api.operator)
        assert not scraped.names & GAUGES_OF_DATABASE


async def test_a_database_that_is_frozen_holds_up_no_scrape(world: World) -> None:
    """Its connections are open, and nothing comes back: not even that something was cancelled."""
    await scrape(world.api.operator)
    frozen = processes_of(world.stack)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        scraped = await scraped_with(world.api.operator, database=0, temporal=1)
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert not scraped.names & GAUGES_OF_DATABASE
    assert "callwallet_webhook_accept_seconds_count" in scraped.names


def processes_of(stack: Stack) -> list[int]:
    """PostgreSQL and those that serve its connections."""
    children = subprocess.run(
        ["pgrep", "-P", str(stack.postgres.pid)], capture_output=True, text=True, check=True
    )
    return [int(pid) for pid in (stack.postgres.pid, *children.stdout.split()) if pid]


async def test_without_the_database_whom_it_has_let_in_scrapes_what_is_left(world: World) -> None:
    """What the process has counted, and what Temporal knows; a stranger is told to come back."""
    await scrape(world.api.operator)
    stranger = world.api.with_key("cw_made_up")
    await world.stack.postgres.stop()
    try:
        scraped = await scraped_with(world.api.operator, database=0, temporal=1)
        assert not scraped.names & GAUGES_OF_DATABASE
        assert "callwallet_webhook_accept_seconds_count" in scraped.names
        problem(await stranger.get("/metrics"), 503, "database_unavailable")
        problem(await world.api.operator.get("/v1/monitoring"), 503, "database_unavailable")
    finally:
        await world.stack.postgres.start()


async def test_a_key_that_the_database_refuses_is_remembered_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For a minute it would be known as a wrong one, and nobody would look further.
    monkeypatch.setattr(keys, "_WRONG_FOR_SECONDS", 0.0)
    created = await world.api.operator.post("/v1/api-keys", json={"label": "a scraper's"})
    key = created.raise_for_status().json()
    scraper = world.api.with_key(key["secret"])
    await scrape(scraper)
    revoked = await world.api.operator.delete(f"/v1/api-keys/{key['api_key']['key_id']}")
    revoked.raise_for_status()
    problem(await scraper.get("/metrics"), 401, "unauthorized")
    await world.stack.postgres.stop()
    try:
        problem(await scraper.get("/metrics"), 503, "database_unavailable")
    finally:
        await world.stack.postgres.start()
