"""Real servers for the tests, one set a pytest process: PostgreSQL, Temporal, the stand-ins.

Nothing is cleaned between tests, for the ledger is append-only: each makes its own organisations.
"""

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import hypothesis
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from devstack.stack import Stack
from store import engine as store_engine
from store.migrate import upgrade
from tests.stand_ins import (
    SlackStandIn,
    StripeStandIn,
    TwilioStandIn,
    VapiStandIn,
    open_slack,
    open_stand_ins,
    open_twilio,
)
from wiring import Clients, Settings, connect_temporal, open_clients
from worker import build_workers
from workflows.namespace import prepare

# On a starved machine a workflow task can take the seconds after which the SDK suspects a deadlock.
os.environ.setdefault("TEMPORAL_DEBUG", "1")

# An example may take as long as a busy machine needs.
hypothesis.settings.register_profile("callwallet", deadline=None)
hypothesis.settings.load_profile("callwallet")

NewDatabase = Callable[[], Awaitable[AsyncEngine]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--story",
        choices=("small", "full"),
        default="small",
        help="size of the whole-system stories: small (seconds) or full (minutes)",
    )


@pytest.fixture(scope="session")
def story_is_full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--story") == "full")


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    parts = ("postgres", "temporal", "providers")
    async with Stack(tmp_path_factory.mktemp("stack"), parts=parts) as running:
        yield running


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    given = {name.lower(): value for name, value in stack.settings().items()}
    return Settings.model_validate(
        {name: value for name, value in given.items() if name in Settings.model_fields}
    )


@pytest.fixture(scope="session")
async def new_database(stack: Stack) -> AsyncIterator[NewDatabase]:
    """Make an empty database that nothing else uses, the worker least of all."""
    async with AsyncExitStack() as engines:

        async def make() -> AsyncEngine:
            name = f"apart_{uuid.uuid4().hex}"
            await stack.postgres.create_database(name)
            engine = store_engine.connect(stack.postgres.url(name), application_name="tests")
            engines.push_async_callback(engine.dispose)
            return engine

        yield make


@pytest.fixture
async def engine_apart(new_database: NewDatabase) -> AsyncIterator[AsyncEngine]:
    """A migrated database without a drain, for tests about everything that is in it.

    Its connections end with the test: PostgreSQL has two hundred for all of them.
    """
    engine = await new_database()
    await upgrade(engine)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def engine(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """The database that the worker uses, migrated."""
    engine = store_engine.connect(settings.database_url, application_name="tests")
    await upgrade(engine)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def temporal(settings: Settings) -> Client:
    """A client of the prepared namespace; only `worker` makes something run in it."""
    client = await connect_temporal(settings)
    await prepare(client)
    # It would tell of what tests leave behind, in the middle of others.
    await client.get_schedule_handle("watch-billing").pause(note="tests look for themselves")
    return client


@pytest.fixture(scope="session")
async def clients(settings: Settings, engine: AsyncEngine) -> AsyncIterator[Clients]:
    async with open_clients(settings, "worker") as opened:
        yield opened


@pytest.fixture(scope="session")
async def worker(temporal: Client, clients: Clients) -> AsyncIterator[Client]:
    """A client of the namespace in which the real worker runs, on both task queues."""
    async with AsyncExitStack() as running:
        for one in build_workers(temporal, clients):
            await running.enter_async_context(one)
        yield temporal


@pytest.fixture(scope="session")
async def stand_ins(stack: Stack) -> AsyncIterator[tuple[StripeStandIn, VapiStandIn]]:
    async with open_stand_ins(stack) as opened:
        yield opened


@pytest.fixture(scope="session")
def stripe(stand_ins: tuple[StripeStandIn, VapiStandIn]) -> StripeStandIn:
    return stand_ins[0]


@pytest.fixture(scope="session")
def vapi(stand_ins: tuple[StripeStandIn, VapiStandIn]) -> VapiStandIn:
    return stand_ins[1]


@pytest.fixture(scope="session")
async def twilio(stack: Stack) -> AsyncIterator[TwilioStandIn]:
    async with open_twilio(stack) as opened:
        yield opened


@pytest.fixture
async def slack(stack: Stack) -> AsyncIterator[SlackStandIn]:
    """Slack, whose faults end with the test: every alert goes to the one webhook."""
    async with open_slack(stack) as opened:
        yield opened
        await opened.behave()
