"""An API over the shared servers, with an operator's key, and what the tests wait for."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from tests.api.serving import Api, serving


@pytest.fixture(scope="session")
async def api(engine: AsyncEngine, temporal: Client) -> AsyncIterator[Api]:
    """An API in which every event has a workflow of its own; nothing need run them."""
    async with serving(engine, temporal) as running:
        yield running


@pytest.fixture(scope="session")
async def working_api(api: Api, worker: Client) -> Api:
    """The same, with the worker running."""
    return api
