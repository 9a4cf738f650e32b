"""A second Temporal server, which can skip time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkipper

from billing.inbox.webhook_event import Drain
from devstack import temporal as devstack_temporal
from devstack.temporal import EmbeddedTemporal
from processes.drains import nudge
from processes.namespace import prepare
from settings import Settings, platform_rules
from tests.conftest import SKIPPING, NewDatabase
from tests.support.factories import unique
from wiring import Clients, connect_temporal
from worker import build_workers

# A history of a hundred events is long enough to begin anew.
SHORT_HISTORIES = "limit.historyCount.suggestContinueAsNew=100"


@dataclass(frozen=True)
class SkippingWorld:
    """A namespace whose workflows skip every wait, with a database of its own.

    Its drains do not skip: a drain that skips its waits would never rest (see `sweeping`).
    """

    temporal: Client
    engine: AsyncEngine


@pytest.fixture(scope="session")
async def skipping_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with AsyncExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(devstack_temporal, "DYNAMIC_CONFIG", (*SKIPPING, SHORT_HISTORIES))
            server = EmbeddedTemporal(tmp_path_factory.mktemp("skipping"))
            await running.enter_async_context(server)
        yield server.address


@pytest.fixture(scope="session")
async def clock(skipping_server: str, settings: Settings) -> Client:
    """A client that skips no time: what it starts waits as long as it must."""
    client = await connect_temporal(
        settings.model_copy(update={"temporal_address": skipping_server})
    )
    await prepare(client)
    return client


@pytest.fixture(scope="session")
async def skipping(
    clock: Client, settings: Settings, clients: Clients, migrated_database: NewDatabase
) -> AsyncIterator[SkippingWorld]:
    engine = await migrated_database()
    skipper = TimeSkipper(clock)
    async with AsyncExitStack() as running:
        for one in build_workers(
            skipper.client, replace(clients, engine=engine), platform_rules(settings)
        ):
            await running.enter_async_context(one)
        yield SkippingWorld(skipper.client, engine)


@pytest.fixture
async def sweeping(clock: Client, skipping: SkippingWorld) -> AsyncIterator[SkippingWorld]:
    """The namespace of `skipping`, with drains that skip their waits, and so sweep without rest."""
    await _begin_anew(skipping.temporal)
    yield skipping
    await _begin_anew(clock)


async def _begin_anew(client: Client) -> None:
    """End the drains that run, and start them by this client."""
    for drain in Drain:
        await client.get_workflow_handle(drain).terminate("another one comes")
        await nudge(client, drain)


@dataclass(frozen=True)
class World:
    """A namespace in which time is skipped when a test asks for it."""

    temporal: Client
    engine: AsyncEngine
    skipper: TimeSkipper

    async def let_pass(self, handle: WorkflowHandle[Any, Any], time: timedelta) -> None:
        """Skip this time for one process, or less if the process ends before."""
        try:
            await self.skipper.fast_forward(handle, time)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise


@pytest.fixture(scope="module")
async def world(
    skipping_server: str, settings: Settings, clients: Clients, migrated_database: NewDatabase
) -> AsyncIterator[World]:
    engine = await migrated_database()
    there = {"temporal_address": skipping_server, "temporal_namespace": unique("world")}
    client = await connect_temporal(settings.model_copy(update=there))
    async with AsyncExitStack() as running:
        await prepare(client)
        for one in build_workers(client, replace(clients, engine=engine), platform_rules(settings)):
            await running.enter_async_context(one)
        yield World(client, engine, TimeSkipper(client))
