"""Real servers for the tests, one set a pytest process: PostgreSQL, Temporal, the stand-ins.

The ledger is append-only, so nothing is removed between tests. Each test makes organisations of its
own.
"""

import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from devstack import postgres
from devstack import temporal as temporal_server
from devstack.postgres import EmbeddedPostgres
from devstack.stack import Stack
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from store.database import engine as store_engine
from store.database import roles
from tests.support import debian, pgbouncer
from tests.support.forks import forking
from tests.support.long_tests import LONG_TESTS, Stopwatch, mark
from tests.support.migrations import set_up
from tests.support.pgbouncer import PgBouncer
from tests.support.stand_ins import (
    SlackStandIn,
    StripeStandIn,
    TwilioStandIn,
    VapiStandIn,
    open_slack,
    open_stand_ins,
    open_twilio,
)
from wiring import Clients, connect_temporal, open_clients
from worker import build_workers
from workflows.shared import options

# On a busy machine a workflow task can take so many seconds that the SDK suspects a deadlock.
os.environ.setdefault("TEMPORAL_DEBUG", "1")

# On a busy machine an example may take any time.
hypothesis.settings.register_profile("callwallet", deadline=None)
hypothesis.settings.load_profile("callwallet")

STORIES = Path(__file__).parent / "stories"
FULL_SIZE_SECONDS = 3600
SKIPPING = (*temporal_server.DYNAMIC_CONFIG, "frontend.WorkflowTimeSkippingEnabled=true")
FIRST_RETRY, SHORT_RETRY = options._THREE_TRIES.initial_interval, timedelta(seconds=0.2)
NewDatabase = Callable[[], Awaitable[AsyncEngine]]
AsService = Callable[[AsyncEngine], AsyncEngine]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--story",
        choices=("small", "full"),
        default="small",
        help="size of the whole-system stories: small (seconds) or full (minutes)",
    )
    parser.addoption(
        "--list-long",
        action="store_true",
        help="write down in tests/long_tests.txt which of the tests that are run take long",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give proofs of the full size the time that they need."""
    if config.getoption("--story") == "full":
        config.option.timeout = FULL_SIZE_SECONDS
    if config.getoption("--list-long") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what has two sizes and what takes long, and begin with the stories.

    The long ones must not come last.
    """
    mark(items, frozenset(LONG_TESTS.read_text().splitlines()))
    for item in items:
        if "story_is_full" in getattr(item, "fixturenames", ()):
            item.add_marker("proof")
    items.sort(key=lambda item: STORIES not in item.path.parents)


@pytest.fixture(scope="session")
def story_is_full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--story") == "full")


@pytest.fixture(scope="session", autouse=True)
def forked_programs() -> Iterator[None]:
    """Let our own programs be forks of a process that has imported them."""
    with forking():
        yield


@pytest.fixture(scope="session", autouse=True)
def short_retries() -> Iterator[None]:
    """Let a fault outlast its three tries within a second, in workers of this process.

    `real_retries` is for tests of how long that takes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options._THREE_TRIES, "initial_interval", SHORT_RETRY)
        yield


@pytest.fixture
def real_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options._THREE_TRIES, "initial_interval", FIRST_RETRY)


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Servers that nobody kills, so they need not survive it; a test may skip time in them."""
    parts = ("postgres", "temporal", "providers")
    async with AsyncExitStack() as running:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(postgres.SETTINGS, "fsync", "off")
            patch.setattr(temporal_server, "DYNAMIC_CONFIG", SKIPPING)
            servers = Stack(tmp_path_factory.mktemp("stack"), parts=parts)
            await running.enter_async_context(servers)
        yield servers


@pytest.fixture(scope="session")
def settings(stack: Stack) -> WorkerSettings:
    given = {name.lower(): value for name, value in stack.settings().items()}
    return WorkerSettings.model_validate(
        {name: value for name, value in given.items() if name in WorkerSettings.model_fields}
    )


@pytest.fixture(scope="session")
async def new_database(stack: Stack) -> AsyncIterator[NewDatabase]:
    """A function that makes an empty database, which nothing else uses, not even the worker."""
    async with _databases(stack.postgres) as make:
        yield make


@pytest.fixture(scope="session")
async def migrated_database(stack: Stack, new_database: NewDatabase) -> AsyncIterator[NewDatabase]:
    """A function that makes a migrated database: a copy of one that was migrated once."""
    engine = await new_database()
    await set_up(engine, roles.service_beside(engine.url, _served(stack, engine)))
    await engine.dispose()
    async with _databases(stack.postgres, template=str(engine.url.database)) as make:
        yield make


@asynccontextmanager
async def _databases(
    server: EmbeddedPostgres, template: str = "template1"
) -> AsyncIterator[NewDatabase]:
    async with AsyncExitStack() as engines:

        async def make() -> AsyncEngine:
            name = f"apart_{uuid.uuid4().hex}"
            await server.create_database(name, template)
            engine = store_engine.connect(server.url(name), application_name="tests")
            engines.push_async_callback(engine.dispose)
            return engine

        yield make


@pytest.fixture
async def engine_apart(migrated_database: NewDatabase) -> AsyncIterator[AsyncEngine]:
    """A migrated database that no drain works on, for tests about all rows of a table.

    Its connections are closed after the test: PostgreSQL has two hundred for all tests.
    """
    engine = await migrated_database()
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def engine(stack: Stack, settings: WorkerSettings) -> AsyncIterator[AsyncEngine]:
    """The database that the worker uses, migrated, as its owner: tests may edit rows by hand."""
    engine = store_engine.connect(stack.postgres.url(), application_name="tests")
    await set_up(engine, roles.service_beside(engine.url, settings.database_url))
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def as_service(stack: Stack) -> AsyncIterator[AsService]:
    """A function that connects to the database of an engine as API and worker do."""
    async with AsyncExitStack() as engines:

        def connect(owner: AsyncEngine) -> AsyncEngine:
            engine = store_engine.connect(_served(stack, owner), application_name="tests")
            engines.push_async_callback(engine.dispose)
            return engine

        yield connect


def _served(stack: Stack, owner: AsyncEngine) -> str:
    return stack.postgres.service_url(str(owner.url.database))


@pytest.fixture(scope="session")
async def pooler(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PgBouncer]:
    """A PgBouncer in transaction mode, in front of all databases of the tests."""
    program, state = debian.pgbouncer(), tmp_path_factory.mktemp("pooler")
    async with pgbouncer.in_front_of(stack.postgres, program, state) as running:
        yield running


@pytest.fixture(scope="session")
async def temporal(settings: WorkerSettings) -> Client:
    """A client of the prepared namespace. Nothing runs in it without `worker`."""
    client = await connect_temporal(settings)
    await prepare(client)
    # It would send alerts about what other tests leave behind.
    await client.get_schedule_handle("watch-billing").pause(note="tests look for themselves")
    return client


@pytest.fixture(scope="session")
async def clients(settings: WorkerSettings, engine: AsyncEngine) -> AsyncIterator[Clients]:
    async with open_clients(settings, "worker") as opened:
        yield opened


@pytest.fixture(scope="session")
async def worker(
    temporal: Client, clients: Clients, settings: WorkerSettings
) -> AsyncIterator[Client]:
    """A client of the namespace in which the real worker serves both task queues."""
    async with AsyncExitStack() as running:
        for one in build_workers(temporal, clients, platform_rules(settings)):
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
    """Slack's stand-in. Its faults end with the test, for all tests share the one webhook."""
    async with open_slack(stack) as opened:
        yield opened
        await opened.behave()
