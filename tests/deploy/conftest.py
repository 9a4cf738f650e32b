"""All metrics that Prometheus can read, after one of each kind of work has been done."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError
from temporalio.service import RPCError
from temporalio.worker import Worker

from billing.inbox.webhook_event import Source
from devstack.ports import HOST, Ports
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from tests.conftest import NewDatabase
from tests.support.answers import accepted, parked, settled
from tests.support.api_server import Api, serving
from tests.support.assistant_requests import a_number, ask
from tests.support.factories import an_assistant, an_organization
from tests.support.promql import ITS_OWN, exported_names, metrics_in_use
from tests.support.reconciled_days import bill, calls_of_today
from tests.support.reconciliation_runs import a_run, on, record
from tests.support.signed_webhooks import call_id_of, report
from wiring import connect_temporal, metrics_runtime, open_clients
from worker import build_workers
from workflows.audit_ledger import AuditLedger
from workflows.shared.options import BILLING_QUEUE

NAMESPACE = "everything-is-scraped-here"
TROUBLE = "trouble"
PATIENCE_SECONDS = 60.0
Exported = dict[str, frozenset[str]]


@activity.defn
async def fails() -> None:
    raise RuntimeError("as the tests want it")


@workflow.defn(sandboxed=False)
class Trouble:
    """A workflow whose activity fails, which then waits, and then raises an error."""

    def __init__(self) -> None:
        self._go_on = False

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.execute_activity(
                fails,
                start_to_close_timeout=timedelta(seconds=5),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except ActivityError:
            await workflow.wait_condition(lambda: self._go_on)
        raise RuntimeError("a bug, as the tests want it")

    @workflow.signal
    def go_on(self) -> None:
        self._go_on = True


@pytest.fixture(scope="session")
async def exported(
    settings: WorkerSettings,
    migrated_database: NewDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Exported]:
    """The names and labels of all metrics of API and worker, after some work."""
    engine = await migrated_database()
    ports = Ports(tmp_path_factory.mktemp("scraped") / "ports.json", {})
    own = _own_settings(settings, engine, ports.take("worker_metrics"))
    plain = await connect_temporal(own)
    await prepare(plain)
    metered = await connect_temporal(own, runtime=metrics_runtime(own))
    async with AsyncExitStack() as running:
        clients = await running.enter_async_context(open_clients(own, "worker"))
        for one in (*build_workers(metered, clients, platform_rules(own)), _troubled(metered)):
            await running.enter_async_context(one)
        api = await running.enter_async_context(serving(engine, plain))
        await _traffic(api)
        await _books(api)
        await _trouble(metered)
        yield await _scraped(api, f"http://{own.worker_metrics_address}/metrics")
    ports.close()


def _own_settings(settings: WorkerSettings, engine: AsyncEngine, port: int) -> WorkerSettings:
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    return settings.model_copy(
        update={
            "database_url": url,
            "temporal_namespace": NAMESPACE,
            "worker_metrics_address": f"{HOST}:{port}",
        }
    )


def _troubled(temporal: Client) -> Worker:
    return Worker(
        temporal,
        task_queue=TROUBLE,
        workflows=[Trouble],
        activities=[fails],
        max_cached_workflows=1,
    )


async def _traffic(api: Api) -> None:
    """Charge a call, park a call and decide about it, and ask to start one."""
    rich = await an_organization(api.engine, 10_000)
    poor = await an_organization(api.engine, debt_limit_minor=0)
    paid = report(await an_assistant(api.engine, rich))
    unpaid = report(await an_assistant(api.engine, poor))
    for webhook in (paid, unpaid):
        assert accepted(await api.send(webhook)) == "accepted"
    await settled(api, call_id_of(paid))
    await parked(api, call_id_of(unpaid), "debt_limit")
    handle = api.temporal.get_workflow_handle(f"call/{call_id_of(unpaid)}")
    await handle.execute_update("reprocess", "the tests: once more")
    await api.send(report().but(authorization="Bearer nobody"))
    number, _ = await a_number(api, rich)
    await ask(api, number)


async def _books(api: Api) -> None:
    """Bill a call of an hour ago, record a reconciliation with each provider, and run an audit."""
    org_id = await an_organization(api.engine, 10_000)
    await bill(api.engine, *calls_of_today(await an_assistant(api.engine, org_id), 1))
    today = on(datetime.fromtimestamp(time.time(), UTC), {org_id: 1})
    for source in (Source.VAPI, Source.STRIPE):
        await record(api.engine, a_run(source=source), today)
    await api.temporal.execute_workflow(AuditLedger.run, id="audit", task_queue=BILLING_QUEUE)


async def _trouble(temporal: Client) -> None:
    """Run workflows whose activity fails, which evict each other from the cache, and which fail."""
    started = [
        await temporal.start_workflow(Trouble.run, id=f"trouble/{number}", task_queue=TROUBLE)
        for number in range(3)
    ]
    for handle in started:
        await handle.signal(Trouble.go_on)
    with pytest.raises(RPCError):
        await temporal.get_workflow_handle("trouble/none").signal(Trouble.go_on)


async def _scraped(api: Api, worker: str) -> Exported:
    """Scrape until every metric that is asked for is there, or the patience is spent."""
    wanted = {one.name for one in metrics_in_use()} - ITS_OWN
    deadline = time.monotonic() + PATIENCE_SECONDS
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            texts = [
                (await http.get(worker)).raise_for_status().text,
                (await api.operator.get("/metrics")).raise_for_status().text,
            ]
            found = exported_names("\n".join(texts))
            if wanted <= found.keys() or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.5)
