"""The command, ready to be typed."""

from collections.abc import AsyncIterator

import pytest

from tests.support.command_line import forking


@pytest.fixture(scope="session", autouse=True)
async def imported(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    """Have it imported once, for all who type it."""
    async with forking(tmp_path_factory.mktemp("callwallet") / "log"):
        yield
