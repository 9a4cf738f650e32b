"""A worker for one story, with all that it reports about money: answers, log lines and counts."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from structlog.testing import capture_logs
from structlog.typing import EventDict
from temporalio.client import Client

from billing.ledger.entry import EntryKind, Outcome, Posting
from devstack.ports import Ports
from devstack.stack import Stack
from processes.namespace import prepare
from settings import WorkerSettings, platform_rules
from store.database import engine as store_engine
from tests.support.api_server import Api, serving
from tests.support.factories import an_organization
from tests.support.migrations import set_up
from tests.support.prometheus import scrape
from tests.support.stand_ins import StripeStandIn, TwilioStandIn
from wiring import connect_temporal, metrics_runtime, open_clients
from worker import build_workers

NAMESPACE = "money-is-walked-through-here"
Counted = Counter[tuple[str, str]]


@dataclass
class Books:
    """An API and a worker, and what the worker reports about money.

    `logs` are all log lines since the start. `org_ids` are the story's own organisations.
    """

    api: Api
    temporal: Client
    stripe: StripeStandIn
    twilio: TwilioStandIn
    metrics_url: str
    logs: list[EventDict]
    org_ids: set[str] = field(default_factory=set)

    async def an_organization(self, balance_minor: int = 0, **how: Any) -> str:
        org_id = await an_organization(self.api.engine, balance_minor, **how)
        self.org_ids.add(org_id)
        return org_id

    @property
    def posted(self) -> list[EventDict]:
        """Its log lines about postings, without the credits that `an_organization` makes."""
        lines = (line for line in self.logs if line["event"] == "posted")
        return [line for line in lines if line["org_id"] in self.org_ids]

    def lines(self, key: str) -> list[EventDict]:
        return [line for line in self.posted if line["key"] == key]

    def has_logged(self, key: str, posting: Posting) -> bool:
        """Return whether a log line about this key has all that this answer has."""
        entry, refusal = posting.entry, posting.refusal
        wanted = {
            "outcome": posting.outcome,
            "entry": entry and entry.entry_id,
            "balance_before_minor": posting.balance_before.amount_minor,
            "balance_after_minor": posting.balance_after.amount_minor,
            "refusal": refusal and refusal.code,
        }
        return any(line.items() >= wanted.items() for line in self.lines(key))

    def logged(self) -> Counted:
        return Counter((line["kind"], line["outcome"]) for line in self.posted)

    async def counted(self) -> Counted:
        seen = await scrape(self.metrics_url)
        pairs = {(kind, outcome) for kind in EntryKind for outcome in Outcome}
        counts = {
            (str(kind), str(outcome)): int(
                seen.value("callwallet_postings_total", kind=kind, outcome=outcome)
            )
            for kind, outcome in pairs
        }
        return Counter({pair: count for pair, count in counts.items() if count})


@asynccontextmanager
async def open_books(
    stack: Stack, settings: WorkerSettings, stripe: StripeStandIn, twilio: TwilioStandIn
) -> AsyncIterator[Books]:
    """Run API and worker on a database and a namespace of their own."""
    ports = Ports(stack.state / "books.json", {})
    address = f"127.0.0.1:{ports.take('worker_metrics')}"
    database = "books"
    await stack.postgres.create_database(database)
    own = settings.model_copy(
        update={
            "database_url": stack.postgres.url(database),
            "temporal_namespace": NAMESPACE,
            "worker_metrics_address": address,
        }
    )
    engine = store_engine.connect(own.database_url, application_name="tests")
    await set_up(engine)
    temporal = await connect_temporal(own, runtime=metrics_runtime(own))
    await prepare(temporal)
    async with AsyncExitStack() as running:
        clients = await running.enter_async_context(open_clients(own, "worker"))
        for one in build_workers(temporal, clients, platform_rules(own)):
            await running.enter_async_context(one)
        api = await running.enter_async_context(serving(engine, temporal))
        logs = running.enter_context(capture_logs())
        yield Books(api, temporal, stripe, twilio, f"http://{address}/metrics", logs)
    await engine.dispose()
    ports.close()
