"""What parks, and what people decide about it, in the worker's metrics: each counted once."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from devstack.stack import Stack
from processes.namespace import prepare
from settings import Settings
from tests.api.monitoring.test_worker_metrics import NAMESPACE, metered, shows
from tests.support.answers import eventually, parked
from tests.support.api_server import serving
from tests.support.factories import an_assistant, an_organization
from tests.support.prometheus import scrape
from tests.support.signed_webhooks import call_id_of, report
from wiring import connect_temporal


async def test_what_parks_is_counted_once_and_every_decision_about_it(
    stack: Stack, settings: Settings, engine_apart: AsyncEngine, tmp_path: Path
) -> None:
    temporal = await connect_temporal(settings.model_copy(update={"temporal_namespace": NAMESPACE}))
    await prepare(temporal)
    async with (
        serving(engine_apart, temporal) as api,
        metered(stack, engine_apart, tmp_path) as url,
    ):
        org_id = await an_organization(api.engine)
        webhook = report(await an_assistant(api.engine, org_id), 600)
        await api.send(webhook)
        await parked(api, call_id_of(webhook), "debt_limit")
        await eventually(lambda: shows(url, "callwallet_parks_total", 1))
        for verdict in ("reprocess", "reprocess", "discard"):
            path = f"/v1/parked/call/{call_id_of(webhook)}/{verdict}"
            (await api.operator.post(path, json={"note": "a test"})).raise_for_status()
        await eventually(lambda: shows(url, "callwallet_decisions_total", 3))
        seen = await scrape(url)
    parks = seen.value("callwallet_parks_total", process="BillCall", reason="debt_limit")
    assert parks == seen["callwallet_parks_total"] == 1
    assert seen.value("callwallet_decisions_total", verdict="reprocess") == 2
    assert seen.value("callwallet_decisions_total", verdict="discard") == 1
