"""One running system for the stories that ask about their own organisations only."""

from collections.abc import AsyncIterator

import pytest

from tests.support.world import World, is_well, running_world, until


@pytest.fixture(scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(tmp_path_factory.mktemp("stories")) as running:
        yield running


@pytest.fixture
async def world(shared: World) -> World:
    """The system, whose every part runs, whatever was killed before."""
    await until("a system that is well", 1, lambda: is_well(shared))
    return shared
