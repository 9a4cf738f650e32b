"""A second server, whose workflows do not wait for time to pass."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import TimeSkipper

from devstack import temporal as devstack_temporal
from devstack.temporal import EmbeddedTemporal
from store.migrate import upgrade
from tests.conftest import NewDatabase
from tests.factories import unique
from wiring import Clients, Settings, connect_temporal
from worker import build_workers
from workflows.namespace import prepare

# A history of a hundred events is long enough to begin anew.
SKIPPING = (
    "frontend.WorkflowTimeSkippingEnabled=true",
    "limit.historyCount.suggestContinueAsNew=100",
)


@dataclass(frozen=True)
class SkippingWorld:
    """What is started through `temporal` jumps over every wait; its database is its own."""

    temporal: Client
    engine: AsyncEngine


@pytest.fixture(scope="session")
async def skipping_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        config = (*devstack_temporal.DYNAMIC_CONFIG, *SKIPPING)
        patch.setattr(devstack_temporal, "DYNAMIC_CONFIG", config)
        async with EmbeddedTemporal(tmp_path_factory.mktemp("skipping")) as server:
            yield server.address


@pytest.fixture(scope="session")
async def skipping(
    skipping_server: str, settings: Settings, clients: Clients, new_database: NewDatabase
) -> AsyncIterator[SkippingWorld]:
    engine = await new_database()
    await upgrade(engine)
    there = settings.model_copy(update={"temporal_address": skipping_server})
    skipper = TimeSkipper(await connect_temporal(there))
    async with AsyncExitStack() as running:
        await prepare(skipper.client)
        for one in build_workers(skipper.client, replace(clients, engine=engine)):
            await running.enter_async_context(one)
        yield SkippingWorld(skipper.client, engine)


@dataclass(frozen=True)
class World:
    """Time passes when a test says so."""

    temporal: Client
    engine: AsyncEngine
    skipper: TimeSkipper

    async def let_pass(self, handle: WorkflowHandle[Any, Any], time: timedelta) -> None:
        """Let it pass for one process, unless that ends before."""
        await self.skipper.fast_forward(handle, time)


@pytest.fixture(scope="module")
async def world(
    skipping_server: str, settings: Settings, clients: Clients, new_database: NewDatabase
) -> AsyncIterator[World]:
    engine = await new_database()
    await upgrade(engine)
    there = {"temporal_address": skipping_server, "temporal_namespace": unique("world")}
    client = await connect_temporal(settings.model_copy(update=there))
    async with AsyncExitStack() as running:
        await prepare(client)
        for one in build_workers(client, replace(clients, engine=engine)):
            await running.enter_async_context(one)
        yield World(client, engine, TimeSkipper(client))
