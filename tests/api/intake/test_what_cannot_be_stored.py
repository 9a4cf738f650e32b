"""What PostgreSQL cannot store goes to Temporal, whatever the reason."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError

from api.intake.intake import CONNECTIONS, MOST_STARTS_INSTEAD
from devstack.stack import Stack
from processes.namespace import prepare
from settings import Settings
from store.database import engine as store_engine
from store.database.migrate import upgrade
from tests.support.answers import accepted, eventually, problem, settled
from tests.support.api_server import Api, serving
from tests.support.factories import an_assistant, an_organization, keys_of, unique, wallet_of
from tests.support.signed_webhooks import Webhook, call_id_of, report
from tests.support.tcp_proxy import proxy_before
from wiring import connect_temporal


class Server:
    """A PostgreSQL of one's own, that can be made read-only as one that was failed over from is."""

    def __init__(self, stack: Stack) -> None:
        self.url = stack.postgres.url()
        self.host, self.port = "127.0.0.1", make_url(self.url).port or 0

    async def run(self, *statements: str) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                await connection.execute(statement.encode())

    @asynccontextmanager
    async def read_only(self) -> AsyncIterator[None]:
        """Be read-only for a while. Every session hears of it, also those that are open."""
        setting = "ALTER SYSTEM SET default_transaction_read_only"
        await self.run(f"{setting} = on", "SELECT pg_reload_conf()")
        try:
            yield
        finally:
            await self.run(f"{setting} = off", "SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    async with Stack(tmp_path_factory.mktemp("read-only"), parts=("postgres",)) as stack:
        own = Server(stack)
        engine = store_engine.connect(own.url, application_name="tests")
        await upgrade(engine)
        await engine.dispose()
        yield own


@pytest.fixture(scope="module")
async def idle(settings: Settings) -> Client:
    """A namespace in which nobody works: what is started there stays as it was started."""
    elsewhere = settings.model_copy(update={"temporal_namespace": "nobody-works-here"})
    client = await connect_temporal(elsewhere)
    await prepare(client)
    return client


@asynccontextmanager
async def an_api(url: str, temporal: Client) -> AsyncIterator[Api]:
    engine = store_engine.connect(url, application_name="tests")
    async with serving(engine, temporal) as running:
        yield running
    await engine.dispose()


@pytest.fixture
async def api(server: Server, idle: Client) -> AsyncIterator[Api]:
    async with an_api(server.url, idle) as running:
        yield running


async def runs(api: Api, webhook: Webhook) -> bool:
    try:
        await api.temporal.get_workflow_handle(f"call/{call_id_of(webhook)}").describe()
    except RPCError:
        return False
    return True


async def database_state(api: Api) -> tuple[int, str]:
    answer = await api.anonymous.get("/health")
    return answer.status_code, answer.json()["services"]["database"]


async def test_a_read_only_database_loses_nothing_says_so_and_heals(
    api: Api, server: Server
) -> None:
    before = report(unique("assistant"))
    assert accepted(await api.send(before)) == "accepted"
    async with server.read_only():
        webhooks = [report(unique("assistant")) for _ in range(20)]
        answers = await asyncio.gather(*map(api.send, webhooks))
        assert {accepted(answer) for answer in answers} == {"accepted"}
        assert accepted(await api.send(webhooks[0])) == "duplicate"
        assert all([await runs(api, webhook) for webhook in webhooks])
        assert await database_state(api) == (503, "error")
        ready = await api.anonymous.get("/health/ready")
        assert ready.status_code == 503
        assert any("read-only" in one for one in ready.json()["problems"])
    after = report(unique("assistant"))
    assert accepted(await api.send(after)) == "accepted"
    await eventually(lambda: is_stored(api, after))
    assert await database_state(api) == (200, "ok")


async def is_stored(api: Api, webhook: Webhook) -> bool:
    return await api.event(webhook.key) is not None


async def test_writing_to_a_read_only_database_is_503_and_not_500(api: Api, server: Server) -> None:
    new = {"org_id": unique("org"), "name": "Acme", "currency": "gbp"}
    async with server.read_only():
        answer = await api.operator.post("/v1/organizations", json=new)
        problem(answer, 503, "database_unavailable")
    answer = await api.operator.post("/v1/organizations", json=new)
    assert answer.status_code == 201


async def test_a_service_that_may_not_write_webhooks_loses_nothing_and_says_so(
    api: Api, server: Server, idle: Client
) -> None:
    role = unique("role")
    await server.run(
        f"CREATE ROLE {role} LOGIN PASSWORD 'p'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    )
    url = make_url(server.url).set(username=role, password="p")
    key = api.operator.headers["authorization"].removeprefix("Bearer ")
    engine = store_engine.connect(url.render_as_string(hide_password=False), application_name="t")
    async with serving(engine, idle, operator_key=key) as reading:
        webhooks = [report(unique("assistant")) for _ in range(20)]
        answers = await asyncio.gather(*map(reading.send, webhooks))
        assert {accepted(answer) for answer in answers} == {"accepted"}
        assert all([await runs(reading, webhook) for webhook in webhooks])
        assert await database_state(reading) == (503, "error")
        ready = (await reading.anonymous.get("/health/ready")).json()
        assert any("may not write" in one for one in ready["problems"])
    await engine.dispose()


async def test_statements_that_a_connection_has_lost_lose_no_webhook(
    api: Api, server: Server
) -> None:
    """As behind a pooler that nobody has told us of."""
    for _ in range(20):
        assert accepted(await api.send(report(unique("assistant")))) == "accepted"
    async with AsyncExitStack() as held:
        for _ in range(CONNECTIONS):
            of_webhooks = api.app.state.services.intake._engine.connect()
            connection = await held.enter_async_context(of_webhooks)
            await connection.execute(text("DEALLOCATE ALL"))
    webhooks = [report(unique("assistant")) for _ in range(20)]
    for webhook in webhooks:
        assert accepted(await api.send(webhook)) == "accepted"
        assert await is_stored(api, webhook) or await runs(api, webhook)
    assert await is_stored(api, webhooks[-1])


async def test_what_was_committed_though_the_answer_was_lost_is_charged_once(
    stack: Stack, engine: AsyncEngine, worker: Client
) -> None:
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    webhook = report(assistant, 60)
    url = make_url(stack.postgres.url())
    async with proxy_before("127.0.0.1", url.port or 0) as proxy:
        through = url.set(port=proxy.port).render_as_string(hide_password=False)
        async with an_api(through, worker) as api:
            assert accepted(await api.send(report(unique("assistant")))) == "accepted"
            proxy.loses_answers_to = b"INSERT INTO webhook_events"
            assert accepted(await api.send(webhook)) == "accepted"
            assert proxy.lost == 1
            proxy.loses_answers_to, proxy.lost = b"", 0
            assert await is_stored(api, webhook)
            assert await runs(api, webhook)
            await settled(api, call_id_of(webhook))
    assert await keys_of(engine, org_id) == [f"call:{call_id_of(webhook)}"]
    assert (await wallet_of(engine, org_id)).balance_minor == 1000 - 56


async def test_so_many_go_to_temporal_at_once_and_the_others_are_told_to_come_back(
    server: Server, tmp_path: Path, settings: Settings
) -> None:
    """Temporal hangs, and the database is read-only: nothing is promised, nobody waits for ever."""
    async with Stack(tmp_path, parts=("temporal",)) as hanging:
        elsewhere = settings.model_copy(update={"temporal_address": hanging.temporal.address})
        client = await connect_temporal(elsewhere)
        await prepare(client)
        async with an_api(server.url, client) as api, server.read_only():
            pid = hanging.temporal.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            try:
                webhooks = [report(unique("assistant")) for _ in range(MOST_STARTS_INSTEAD + 20)]
                answers = await asyncio.gather(*map(api.send, webhooks))
            finally:
                os.kill(pid, signal.SIGCONT)
            for answer in answers:
                problem(answer, 503, "unavailable")
                assert int(answer.headers["retry-after"]) > 0
            again = await asyncio.gather(*map(api.send, webhooks))
            assert {accepted(answer) for answer in again} <= {"accepted", "duplicate"}
            assert all([await runs(api, webhook) for webhook in webhooks])
