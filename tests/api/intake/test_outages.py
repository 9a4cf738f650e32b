"""PostgreSQL gone, Temporal gone, both gone: what a sender is told, and what comes of it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from sqlalchemy import func, text, update
from temporalio.client import Client
from temporalio.service import RPCError

from billing.inbox.webhook_event import Drain
from devstack.stack import Stack
from processes.drains import nudge
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from store.database import engine as store_engine
from store.schema import webhook_events
from tests.support.answers import accepted, balance, eventually, parked, problem, settled
from tests.support.api_server import FLOODED, Api, serving
from tests.support.factories import an_assistant, an_organization, keys_of, unique
from tests.support.migrations import set_up
from tests.support.signed_webhooks import (
    Webhook,
    call_id_of,
    message,
    report,
    stripe_event,
    with_bearer,
)
from wiring import connect_temporal, open_clients
from worker import build_workers


@dataclass(frozen=True)
class World:
    """Servers that a test may stop: PostgreSQL, Temporal, the worker, and an API over them."""

    stack: Stack
    api: Api
    temporal: Client

    async def runs(self, workflow_id: str) -> bool:
        try:
            await self.temporal.get_workflow_handle(workflow_id).describe()
        except RPCError:
            return False
        return True


@pytest.fixture(scope="module")
async def servers(
    tmp_path_factory: pytest.TempPathFactory, settings: WorkerSettings
) -> AsyncIterator[World]:
    async with AsyncExitStack() as opened:
        state = tmp_path_factory.mktemp("outages")
        stack = await opened.enter_async_context(Stack(state, parts=("postgres", "temporal")))
        own = settings.model_copy(
            update={
                "database_url": stack.postgres.url(),
                "temporal_address": stack.temporal.address,
            }
        )
        engine = store_engine.connect(own.database_url, application_name="outages")
        opened.push_async_callback(engine.dispose)
        await set_up(engine)
        temporal = await connect_temporal(own)
        await prepare(temporal)
        clients = await opened.enter_async_context(open_clients(own, "worker"))
        for worker in build_workers(temporal, clients, platform_rules(own)):
            await opened.enter_async_context(worker)
        lazy = await connect_temporal(own, lazy=True)
        api = await opened.enter_async_context(serving(engine, lazy))
        yield World(stack, api, temporal)


@pytest.fixture
async def world(servers: World) -> AsyncIterator[World]:
    """The servers, all running before and after each test."""
    yield servers
    for server in (servers.stack.postgres, servers.stack.temporal):
        if server.pid is None:
            await server.start()
    await eventually(lambda: is_well(servers))


async def is_well(world: World) -> bool:
    answer = await world.api.anonymous.get("/health")
    return bool(answer.json()["status"] == "ok")


async def a_paying_assistant(world: World) -> tuple[str, str]:
    org_id = await an_organization(world.api.engine, 1000)
    return org_id, await an_assistant(world.api.engine, org_id)


async def kill_postgres(world: World) -> None:
    """kill -9, and wait until its supervisor has started another one that answers."""
    killed = world.stack.postgres.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: answers_again(world, killed))


async def answers_again(world: World, killed: int) -> bool:
    if world.stack.postgres.pid in (None, killed):
        return False
    return (await world.api.operator.get("/v1/organizations?limit=1")).is_success


async def test_what_was_acknowledged_survives_a_kill_of_postgresql_right_after(
    world: World,
) -> None:
    webhooks = [stripe_event("customer.created") for _ in range(20)]
    for webhook in webhooks[:-1]:
        await world.api.send(webhook)
    assert accepted(await world.api.send(webhooks[-1])) == "ignored"
    await kill_postgres(world)
    assert None not in [await world.api.event(webhook.key) for webhook in webhooks]


@pytest.mark.always
async def test_no_200_is_a_lie_when_postgresql_is_killed_in_a_burst(world: World) -> None:
    """Every acknowledged call is in the inbox, or has a workflow, which is as durable."""
    webhooks = [report("nobody's", 60) for _ in range(60)]
    sent = [asyncio.create_task(world.api.send(webhook)) for webhook in webhooks]
    await asyncio.wait(sent, return_when=asyncio.FIRST_COMPLETED)
    await kill_postgres(world)
    answers = await asyncio.gather(*sent)
    taken = [
        one for one, answer in zip(webhooks, answers, strict=True) if answer.status_code == 200
    ]
    assert taken
    for webhook in taken:
        kept = await world.api.event(webhook.key) is not None
        assert kept or await world.runs(f"call/{call_id_of(webhook)}")


async def test_the_answer_waits_for_the_commit(world: World) -> None:
    event = stripe_event("customer.created")
    async with world.api.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE webhook_events IN EXCLUSIVE MODE"))
        sent = asyncio.create_task(world.api.send(event))
        await eventually(lambda: an_insert_waits(world))
        assert not sent.done()
    assert accepted(await sent) == "ignored"
    assert await world.api.event(event.key) is not None


async def an_insert_waits(world: World) -> bool:
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO webhook_events%'"
    )
    async with world.api.engine.connect() as connection:
        return bool((await connection.execute(query)).scalar_one())


async def test_a_database_that_hangs_is_as_good_as_gone(world: World) -> None:
    org_id, assistant = await a_paying_assistant(world)
    webhook = report(assistant, 60)
    async with world.api.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE webhook_events IN EXCLUSIVE MODE"))
        assert accepted(await world.api.send(webhook)) == "accepted"
        assert await world.runs(f"call/{call_id_of(webhook)}")
    await settled(world.api, call_id_of(webhook))
    assert await balance(world.api, org_id) == 1000 - 56


async def test_without_postgresql_a_call_goes_straight_to_its_workflow_and_settles_later(
    world: World,
) -> None:
    org_id, assistant = await a_paying_assistant(world)
    webhook = report(assistant, 60)
    await world.stack.postgres.stop()
    assert accepted(await world.api.send(webhook)) == "accepted"
    assert accepted(await world.api.send(webhook)) == "duplicate"
    assert await world.runs(f"call/{call_id_of(webhook)}")
    await world.stack.postgres.start()
    await settled(world.api, call_id_of(webhook))
    assert await keys_of(world.api.engine, org_id) == [f"call:{call_id_of(webhook)}"]
    assert await balance(world.api, org_id) == 1000 - 56


async def test_without_postgresql_a_payment_goes_straight_to_its_workflow(world: World) -> None:
    payment = unique("pi")
    await world.stack.postgres.stop()
    event = stripe_event("payment_intent.succeeded", {"id": payment})
    assert accepted(await world.api.send(event)) == "accepted"
    assert await world.runs(f"payment/{payment}")


async def test_without_temporal_events_are_stored_and_settle_when_it_is_back(world: World) -> None:
    org_id, assistant = await a_paying_assistant(world)
    webhooks = [report(assistant, 60) for _ in range(3)]
    await world.stack.temporal.stop()
    for webhook in webhooks:
        assert accepted(await world.api.send(webhook)) == "accepted"
        assert (await world.api.event(webhook.key)).status == "waiting"
    await world.stack.temporal.start()
    await let_their_grace_pass(world, webhooks)
    for webhook in webhooks:
        await settled(world.api, call_id_of(webhook))
    assert await balance(world.api, org_id) == 1000 - 3 * 56


async def test_without_temporal_a_flood_is_stored_and_the_drain_is_told_when_it_is_back(
    world: World,
) -> None:
    org_id, assistant = await a_paying_assistant(world)
    webhooks = [report(assistant, 60) for _ in range(10)]
    await world.stack.temporal.stop()
    async with serving(world.api.engine, world.api.temporal, rules=FLOODED) as flooded:
        for webhook in webhooks:
            assert accepted(await flooded.send(webhook)) == "accepted"
        await world.stack.temporal.start()
        calls = [await settled(world.api, call_id_of(webhook)) for webhook in webhooks]
    assert {call["workflow_id"] for call in calls} == {"inbox/drain"}
    assert await balance(world.api, org_id) == 1000 - 10 * 56


async def let_their_grace_pass(world: World, webhooks: list[Webhook]) -> None:
    """Make it later for events whose own workflow never started, and have the drain look."""
    keys = [webhook.key for webhook in webhooks]
    due_now = update(webhook_events).where(webhook_events.c.key.in_(keys))
    async with world.api.engine.begin() as connection:
        await connection.execute(due_now.values(due_at=func.now()))
    await nudge(world.temporal, Drain.INBOX)


async def test_without_both_the_sender_is_told_to_come_back(world: World) -> None:
    before = (await world.api.counted()).get(("vapi", "unavailable"), 0)
    await world.stack.postgres.stop()
    await world.stack.temporal.stop()
    for webhook in (report("a", 60), stripe_event()):
        answer = await world.api.send(webhook)
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert (await world.api.anonymous.get("/health")).status_code == 503
    await world.stack.postgres.start()
    await world.stack.temporal.start()
    assert (await world.api.counted())[("vapi", "unavailable")] == before + 1


async def test_a_webhook_that_was_told_to_come_back_is_new_when_it_does(world: World) -> None:
    webhook = report("a", 60)
    await world.stack.postgres.stop()
    await world.stack.temporal.stop()
    problem(await world.api.send(webhook), 503, "unavailable")
    await world.stack.postgres.start()
    await world.stack.temporal.start()
    await eventually(lambda: is_well(world))
    assert accepted(await world.api.send(webhook)) == "accepted"


async def test_a_wrong_signature_is_refused_though_everything_is_down(world: World) -> None:
    await world.stack.postgres.stop()
    await world.stack.temporal.stop()
    problem(await world.api.send(report().but(authorization="Bearer x")), 401, "unauthorized")
    problem(await world.api.send(with_bearer(b"{}")), 400, "malformed")


async def test_without_postgresql_the_nouns_answer_503_and_nobody_is_let_in(world: World) -> None:
    await world.stack.postgres.stop()
    for client in (world.api.operator, world.api.with_key("cw_made_up")):
        answer = await client.get("/v1/organizations")
        problem(answer, 503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert (await world.api.anonymous.get("/health/ready")).status_code == 503


async def test_without_temporal_the_books_are_read_and_only_health_is_degraded(
    world: World,
) -> None:
    org_id = await an_organization(world.api.engine, 1000)
    await world.stack.temporal.stop()
    assert await balance(world.api, org_id) == 1000
    answer = await world.api.anonymous.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    ready = await world.api.anonymous.get("/health/ready")
    assert (ready.status_code, ready.json()["problems"]) == (503, ["Temporal does not answer"])


async def test_a_debt_limit_set_without_temporal_stands_and_setting_it_again_wakes_the_calls(
    world: World,
) -> None:
    org_id = await an_organization(world.api.engine, 0)
    webhook = report(await an_assistant(world.api.engine, org_id), 600)
    await world.api.send(webhook)
    await parked(world.api, call_id_of(webhook), "debt_limit")
    await world.stack.temporal.stop()
    path, limit = f"/v1/organizations/{org_id}/debt-limit", {"debt_limit_minor": 5000}
    problem(await world.api.operator.put(path, json=limit), 503, "temporal_unavailable")
    wallet = (await world.api.operator.get(f"/v1/organizations/{org_id}/wallet")).json()
    assert wallet["debt_limit_minor"] == 5000
    await world.stack.temporal.start()
    await eventually(lambda: is_well(world))
    assert (await world.api.operator.put(path, json=limit)).is_success
    await settled(world.api, call_id_of(webhook))
    assert await balance(world.api, org_id) == -553


async def test_a_status_update_is_acknowledged_without_a_database(world: World) -> None:
    """It moves no money, so nobody need send it again."""
    await world.stack.postgres.stop()
    update_ = with_bearer(message("status-update", unique("call"), status="ringing"))
    assert accepted(await world.api.send(update_)) == "ignored"
