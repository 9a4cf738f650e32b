"""A browser for tests of the UI. Without one they are skipped, and in CI they fail."""

import os
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser
from temporalio.client import Client

from devstack.demo.temporal import Operator
from devstack.stack import Stack
from tests.support.browser import find_chromium, open_browser, open_page
from tests.support.temporal_ui import TemporalUi


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    executable = find_chromium()
    if executable is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up("no chromium is installed (Debian: apt-get install chromium)")
    async with open_browser(executable) as opened:
        yield opened


@pytest.fixture
async def ui(browser: Browser) -> AsyncIterator[TemporalUi]:
    async with open_page(browser) as page:
        yield TemporalUi(page)


@pytest.fixture
def operator(stack: Stack, worker: Client) -> Operator:
    """An operator, who knows the URLs of pages. The worker must run to explain workflows."""
    return Operator(worker, stack.temporal.ui_url)
