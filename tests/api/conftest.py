"""Two running APIs: one without a worker, and one with the worker behind it."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.platform_rules import PlatformRules
from processes.namespace import prepare
from settings import Settings
from tests.conftest import AsService, NewDatabase
from tests.support.api_server import RULES, Api, serving
from wiring import connect_temporal


@pytest.fixture(scope="session")
async def api(
    settings: Settings, migrated_database: NewDatabase, as_service: AsService
) -> AsyncIterator[Api]:
    """An API on a database and a namespace of its own, for what happens before the answer.

    No worker runs in that namespace, so no event has an effect.
    """
    engine = await migrated_database()
    elsewhere = settings.model_copy(update={"temporal_namespace": "nobody-works-here"})
    temporal = await connect_temporal(elsewhere)
    await prepare(temporal)
    async with serving(engine, temporal, served=as_service(engine)) as running:
        yield running


@pytest.fixture(scope="session")
async def working_api(
    engine: AsyncEngine, worker: Client, as_service: AsService
) -> AsyncIterator[Api]:
    """An API that starts a workflow for every event, which the worker runs."""
    async with serving(engine, worker, served=as_service(engine)) as running:
        yield running


@pytest.fixture(scope="session")
async def strict_api(
    engine: AsyncEngine, worker: Client, as_service: AsService
) -> AsyncIterator[Api]:
    """The same, where one person may raise debt limits by as much as by default."""
    most = PlatformRules().debt_limit_approval_minor
    rules = replace(RULES, debt_limit_approval_minor=most)
    async with serving(engine, worker, rules=rules, served=as_service(engine)) as running:
        yield running
