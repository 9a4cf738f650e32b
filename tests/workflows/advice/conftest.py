"""An API beside a worker, in a namespace in which time is skipped when a test asks for it."""

from collections.abc import AsyncIterator

import pytest

from tests.support.api_server import Api, serving
from tests.workflows.conftest import World


@pytest.fixture(scope="module")
async def api(world: World) -> AsyncIterator[Api]:
    async with serving(world.engine, world.temporal) as running:
        yield running
