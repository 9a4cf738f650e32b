"""An API and a worker in this process, on any database, in a namespace of their own."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.platform_rules import PlatformRules
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from store.database.session import Pooler
from tests.support.api_server import RULES, Api, serving
from tests.support.factories import unique
from wiring import connect_database, connect_temporal, open_clients
from worker import build_workers


@asynccontextmanager
async def a_system(
    settings: WorkerSettings,
    database_url: str,
    pooler: Pooler = Pooler.NONE,
    rules: PlatformRules = RULES,
) -> AsyncIterator[Api]:
    """Run both until the body ends; they connect as they do when they are deployed."""
    own = settings.model_copy(
        update={
            "database_url": database_url,
            "database_pooler": pooler,
            "temporal_namespace": unique("system"),
        }
    )
    temporal = await connect_temporal(own)
    await prepare(temporal)
    async with AsyncExitStack() as running:
        clients = await running.enter_async_context(open_clients(own, "worker"))
        for one in build_workers(temporal, clients, platform_rules(own)):
            await running.enter_async_context(one)
        engine = connect_database(own, "api")
        running.push_async_callback(engine.dispose)
        yield await running.enter_async_context(serving(engine, temporal, rules=rules))


def url_of(engine: AsyncEngine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
