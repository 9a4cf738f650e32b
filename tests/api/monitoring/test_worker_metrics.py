"""The worker's metrics, as Prometheus reads them from a process of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.monitoring.metrics import BUCKETS, WEBHOOK_TO_ENTRY
from devstack import programs
from devstack.ports import HOST, Ports
from devstack.process import Service
from devstack.stack import Stack
from processes.namespace import prepare
from settings import Settings
from tests.support.answers import accepted, eventually, settled
from tests.support.api_server import Api, serving
from tests.support.factories import an_assistant, an_organization
from tests.support.prometheus import Scrape, scrape
from tests.support.signed_webhooks import call_id_of, report
from wiring import connect_temporal

NAMESPACE = "a-worker-is-measured-here"


@asynccontextmanager
async def metered(stack: Stack, engine: AsyncEngine, state: Path) -> AsyncIterator[str]:
    """A worker as a process of its own; answers with where its metrics are."""
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    env = {**stack.settings(), "DATABASE_URL": url, "TEMPORAL_NAMESPACE": NAMESPACE}
    ports = Ports(state / "ports.json", {})
    port = ports.take("worker_metrics")
    service = Service(
        lambda: programs.worker(state, env, port), lambda _: programs.all_listen([port])
    )
    await service.start()
    yield f"http://{HOST}:{port}/metrics"
    await service.stop()
    ports.close()


async def test_one_endpoint_shows_what_was_posted_how_long_it_took_and_the_sdks_own_metrics(
    stack: Stack, settings: Settings, engine_apart: AsyncEngine, tmp_path: Path
) -> None:
    temporal = await connect_temporal(settings.model_copy(update={"temporal_namespace": NAMESPACE}))
    await prepare(temporal)
    async with (
        serving(engine_apart, temporal) as api,
        metered(stack, engine_apart, tmp_path) as url,
    ):
        await a_call_is_charged(api)
        await eventually(lambda: shows(url, "callwallet_postings_total", 1))
        seen = await scrape(url)
    assert seen.value("callwallet_postings_total", kind="call", outcome="applied") == 1
    assert seen.value("callwallet_webhook_to_entry_seconds_count", source="vapi") == 1
    assert 0 < seen["callwallet_webhook_to_entry_seconds_sum"] < 60
    assert buckets(seen, WEBHOOK_TO_ENTRY) == [*map(float, BUCKETS[WEBHOOK_TO_ENTRY]), float("inf")]
    assert seen.value("temporal_workflow_completed_total", workflow_type="BillCall") == 1
    assert seen["temporal_workflow_task_execution_latency_seconds_count"] > 0
    assert seen.value("temporal_worker_task_slots_available", namespace=NAMESPACE) > 0


async def a_call_is_charged(api: Api) -> None:
    org_id = await an_organization(api.engine, 1000)
    webhook = report(await an_assistant(api.engine, org_id))
    assert accepted(await api.send(webhook)) == "accepted"
    await settled(api, call_id_of(webhook))


async def shows(url: str, name: str, value: float) -> bool:
    return (await scrape(url))[name] == value


def buckets(seen: Scrape, name: str) -> list[float]:
    samples = seen.families[name].samples
    return [float(one.labels["le"]) for one in samples if one.name == f"{name}_bucket"]
