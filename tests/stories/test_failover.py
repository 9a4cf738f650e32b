"""PostgreSQL fails over under load: to a standby that has everything, and to one that has not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine

import billing.reconciliation.reconciliation
from billing.calls.call import EndedCall
from billing.inbox.webhook_event import Source
from billing.ledger.entry import call_key, payment_credit_key
from billing.platform_rules import PlatformRules
from billing.reconciliation.reconciliation import Window
from devstack import postgres
from devstack.load import Shot, fire, post_request
from settings import WorkerSettings
from store.database import connection
from store.database import engine as store_engine
from store.database.migrate import upgrade
from tests.support import main_story
from tests.support.answers import accepted, balance, settled
from tests.support.api_server import Api
from tests.support.eventually import eventually
from tests.support.factories import NOON, an_assistant, an_organization, ended_call, keys_of
from tests.support.reconciled_days import Reconciler
from tests.support.signed_webhooks import Webhook, call_id_of, report, stripe_event
from tests.support.stand_ins import StripeStandIn, VapiStandIn
from tests.support.standby import Pair, a_pair
from tests.support.systems import a_system
from tests.support.tcp_proxy import TcpProxy, proxy_before
from tests.support.world import PATIENCE_SECONDS, UNPROVEN

CONNECTIONS = 16
RICH_MINOR = 10_000_000
CHARGED = """
    SELECT key FROM ledger_entries WHERE kind = 'call' AND org_id = ANY(:org_ids) ORDER BY key"""
WAITING = "SELECT count(*) FROM webhook_events WHERE status = 'waiting'"
THE_DAY = Window(NOON - timedelta(hours=12), NOON + timedelta(hours=12))


@dataclass(frozen=True)
class Failover:
    """A system whose database is at one address, wherever that leads."""

    api: Api
    pair: Pair
    address: TcpProxy

    async def rows(self, sql: str, **values: object) -> list[object]:
        async with self.api.engine.connect() as connection:
            return list((await connection.execute(text(sql), values)).scalars())

    async def database_state(self) -> tuple[int, str]:
        answer = await self.api.anonymous.get("/health")
        return answer.status_code, answer.json()["services"]["database"]

    async def says(self, status: int, database: str) -> None:
        """Wait until it does, for less than a pool would keep its sessions of a server."""

        async def it_is_so() -> bool:
            return await self.database_state() == (status, database)

        await eventually(it_is_so)

    async def fail_over(self) -> None:
        """Promote the standby, and lead new connections there; those that are open linger."""
        await self.pair.promote()
        self.address.leads_to = self.pair.standby.address


@pytest.fixture
async def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """Nobody is killed here, so nothing need survive that."""
    monkeypatch.setitem(postgres.SETTINGS, "fsync", "off")
    async with a_pair(tmp_path) as running:
        yield running


@pytest.fixture
async def failover(pair: Pair, settings: WorkerSettings) -> AsyncIterator[Failover]:
    async with proxy_before(*pair.primary.address) as address:
        engine = store_engine.connect(pair.primary.postgres.url(), application_name="tests")
        await upgrade(engine)
        url = engine.url.set(port=address.port, drivername="postgresql")
        await engine.dispose()
        address_of_both = url.render_as_string(hide_password=False)
        # Most calls of a flood are settled by the drain, in batches.
        async with a_system(settings, address_of_both, rules=PlatformRules()) as api:
            yield Failover(api, pair, address)


@dataclass
class Load:
    """Webhooks that are sent one after another on a few connections, and how far that is."""

    api: Api
    webhooks: Sequence[Webhook]
    answered: int = 0
    progressed: asyncio.Event = field(default_factory=asyncio.Event)

    async def fire(self) -> list[Shot]:
        """Send all; whoever is told 503 comes again, as senders do."""
        url = f"{self.api.url}/webhooks/vapi"
        requests = [post_request(url, one.headers, one.body) for one in self.webhooks]
        return await fire(
            url,
            requests,
            connections=CONNECTIONS,
            give_up_seconds=PATIENCE_SECONDS,
            answered=self._count,
        )

    async def until_answered(self, part: float) -> None:
        while self.answered < part * len(self.webhooks):
            self.progressed.clear()
            await self.progressed.wait()

    def _count(self, _: Shot) -> None:
        self.answered += 1
        self.progressed.set()


@asynccontextmanager
async def under_load(api: Api, webhooks: Sequence[Webhook]) -> AsyncIterator[Load]:
    """Send them meanwhile; each must be taken in the end."""
    load = Load(api, webhooks)
    firing = asyncio.create_task(load.fire())
    yield load
    shots = await firing
    assert {shot.status for shot in shots} == {200}


@pytest.mark.usefixtures("real_retries")
async def test_a_synchronous_standby_takes_over_under_load_and_every_webhook_settles_once(
    failover: Failover, story_is_full: bool
) -> None:
    count = 3000 if story_is_full else 240
    api, pair = failover.api, failover.pair
    await pair.agree()
    tenants = [await a_rich_tenant(api.engine) for _ in range(4)]
    webhooks = [report(tenants[n % 4][1], 60) for n in range(count)]
    async with under_load(api, webhooks) as load:
        await load.until_answered(1 / 4)
        await pair.primary.becomes_read_only()
        await load.until_answered(2 / 4)
        await failover.says(503, "error")
        ready = (await api.anonymous.get("/health/ready")).json()
        assert any("read-only" in one for one in ready["problems"])
        await failover.fail_over()
        await failover.says(200, "ok")
    await all_is_charged(failover, tenants, webhooks)
    assert await main_story.flaws(api) == ()
    assert await port_found(pair) == pair.standby.postgres.port


async def port_found(pair: Pair) -> int:
    """Return where a URL leads that names both servers, the former one first."""
    own = make_url(pair.primary.postgres.url())
    hosts = tuple(f"{host}:{port}" for host, port in (pair.primary.address, pair.standby.address))
    both = URL.create(
        "postgresql", own.username, own.password, database=own.database, query={"host": hosts}
    )
    named = both.render_as_string(hide_password=False)
    engine = store_engine.connect(named, application_name="tests", pool_size=1)
    async with engine.connect() as connection:
        port: int = (await connection.execute(text("SELECT inet_server_port()"))).scalar_one()
    await engine.dispose()
    return port


async def test_what_an_asynchronous_standby_had_not_heard_of_is_brought_back_by_reconciliation(
    failover: Failover,
    stripe: StripeStandIn,
    vapi: VapiStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its calls and payments: those are at the providers, and nothing else is."""
    # What was paid this very second is looked at: Stripe's clock cannot be set back.
    monkeypatch.setattr(billing.reconciliation.reconciliation, "GRACE", timedelta(seconds=-2))
    api, pair = failover.api, failover.pair
    org_id, assistant = await a_rich_tenant(api.engine)
    kept, lost = a_call(assistant), a_call(assistant)
    await vapi.lists(kept, lost)
    await is_charged(api, kept)
    await pair.catch_up()
    await pair.fall_behind()
    await is_charged(api, lost)
    paid_at = now().replace(microsecond=0)
    payment_id = await stripe.payment(org_id, 2500)
    await is_credited(api, org_id, payment_id)
    before = sorted(await keys_of(api.engine, org_id)), await balance(api, org_id)

    await pair.primary.becomes_read_only()
    await failover.fail_over()
    await failover.says(200, "ok")
    assert await keys_of(api.engine, org_id) == [call_key(kept.call_id)]

    at_vapi = Reconciler(api.temporal, api.engine, Source.VAPI)
    assert (await at_vapi.reconcile(THE_DAY, org_id=org_id)).total.recovered == 1
    at_stripe = Reconciler(api.temporal, api.engine, Source.STRIPE)
    since_then = Window(paid_at, now() + timedelta(seconds=1))
    assert (await at_stripe.reconcile(since_then, org_id=org_id)).total.recovered == 1
    assert (sorted(await keys_of(api.engine, org_id)), await balance(api, org_id)) == before
    assert before[0] == sorted(
        [call_key(kept.call_id), call_key(lost.call_id), payment_credit_key(payment_id)]
    )
    assert await main_story.flaws(api) == ()


async def test_a_commit_that_only_the_primary_has_ends_and_is_not_taken_for_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL waits for a standby for ever, or warns; promoted, that one has none of it."""
    await pair.agree()
    await pair.fall_behind()
    url = pair.primary.postgres.url()
    engine = store_engine.connect(url, application_name="tests", pool_size=1)
    alone, _ = await asyncio.gather(
        make(engine, "cancelled"), cancels_what_waits(pair), return_exceptions=True
    )
    assert isinstance(alone, OperationalError)
    assert "perhaps on this server only" in str(alone)
    monkeypatch.setattr(connection, "COMMIT_SECONDS", 0.1)
    with pytest.raises(OperationalError, match="nobody knows whether"):
        await make(engine, "late")
    assert await pair.primary.run("SELECT count(*) FROM cancelled, late") == 0
    await engine.dispose()


async def make(engine: AsyncEngine, table: str) -> None:
    async with engine.begin() as transaction:
        await transaction.execute(text(f"CREATE TABLE {table} ()"))


async def cancels_what_waits(pair: Pair) -> None:
    """Do as people do who find sessions that wait for a standby."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    pid = await eventually(lambda: pair.primary.run(waiting))
    assert await pair.primary.run(f"SELECT pg_cancel_backend({pid})")


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def a_call(assistant: str) -> EndedCall:
    """Return a call as `report` tells of it."""
    return ended_call(assistant, 60, ended_at=NOON + timedelta(minutes=1))


async def a_rich_tenant(engine: AsyncEngine) -> tuple[str, str]:
    org_id = await an_organization(engine, RICH_MINOR)
    await main_story.price(engine, org_id)
    return org_id, await an_assistant(engine, org_id)


async def is_charged(api: Api, call: EndedCall) -> None:
    webhook = report(call.assistant_id, 60, call_id=call.call_id)
    assert accepted(await api.send(webhook)) == "accepted"
    await settled(api, call.call_id)


async def is_credited(api: Api, org_id: str, payment_id: str) -> None:
    paid = stripe_event(inner={"id": payment_id, "object": "payment_intent"})
    assert accepted(await api.send(paid)) == "accepted"

    async def it_is_there() -> bool:
        return payment_credit_key(payment_id) in await keys_of(api.engine, org_id)

    await eventually(it_is_there)


async def all_is_charged(
    failover: Failover, tenants: Sequence[tuple[str, str]], webhooks: Sequence[Webhook]
) -> None:
    """Wait until each call has its one entry, and nothing waits."""
    org_ids = [org_id for org_id, _ in tenants]
    expected = sorted(call_key(call_id_of(one)) for one in webhooks)

    async def it_is() -> bool:
        return await failover.rows(CHARGED, org_ids=org_ids) == expected

    async def nothing_waits() -> bool:
        return await failover.rows(WAITING) == [0]

    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await it_is():  # noqa: ASYNC110  (a server)
            await asyncio.sleep(0.2)
        while not await nothing_waits():  # noqa: ASYNC110  (a server)
            await asyncio.sleep(0.2)
    assert await failover.rows(UNPROVEN) == [0]
    total = "SELECT sum(balance_minor)::bigint FROM wallets WHERE org_id = ANY(:org_ids)"
    spent = main_story.PRICE_MINOR * len(webhooks)
    assert await failover.rows(total, org_ids=org_ids) == [len(tenants) * RICH_MINOR - spent]
