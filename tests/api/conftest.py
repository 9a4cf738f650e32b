"""Two running APIs: one whose events nobody works on, and one with the worker behind it."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from store.migrate import upgrade
from tests.api.serving import Api, serving
from tests.conftest import NewDatabase
from wiring import Settings, connect_temporal
from workflows.namespace import prepare


@pytest.fixture(scope="session")
async def api(settings: Settings, new_database: NewDatabase) -> AsyncIterator[Api]:
    """An API over a database and a namespace of its own, for what happens before the answer."""
    engine = await new_database()
    await upgrade(engine)
    elsewhere = settings.model_copy(update={"temporal_namespace": "nobody-works-here"})
    temporal = await connect_temporal(elsewhere)
    await prepare(temporal)
    async with serving(engine, temporal) as running:
        yield running


@pytest.fixture(scope="session")
async def working_api(engine: AsyncEngine, worker: Client) -> AsyncIterator[Api]:
    """An API in which every event gets a workflow of its own, and the worker runs it."""
    async with serving(engine, worker) as running:
        yield running
