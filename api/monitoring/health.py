"""How the parts of callwallet are, and whether this process is ready: one look for all who ask."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.monitoring.cached_read import CachedRead
from processes.errors import TEMPORAL_GONE
from processes.request import worker_polls
from store.alerts import alerts
from store.database import migrate, roles, session, writing
from store.database.errors import DATABASE_GONE, Unusable, is_read_only
from store.inbox import inbox
from store.inbox.inbox import Backlog

PROBE_TIMEOUT_SECONDS = 2.0
INBOX_IS_LATE_SECONDS = 60.0
ALERTS_ARE_LATE_SECONDS = 300.0
# What Slack refused longer ago is no longer shown: whoever looks has seen it by then.
GIVEN_UP_WITHIN = timedelta(hours=24)
# Every look ends within two probes, one after the other.
_PATIENCE_SECONDS = 3 * PROBE_TIMEOUT_SECONDS
# What was seen is not shown for longer, should the next look not end.
_STALE_SECONDS = 10.0
Found = TypeVar("Found")


class State(StrEnum):
    """How something is."""

    OK = "ok"
    DEGRADED = "degraded"
    ERROR = "error"


class ServiceStates(BaseModel):
    """What callwallet consists of."""

    database: State
    temporal: State
    worker: State
    webhook_inbox: State
    alerts: State


class Inbox(BaseModel):
    """Webhooks that are not in the ledger or in a workflow yet."""

    waiting: int | None
    oldest_seconds: float | None


class Outbox(BaseModel):
    """Alerts that nobody has been told: they wait for Slack, or Slack refused them of late."""

    waiting: int | None
    oldest_seconds: float | None
    given_up: int | None


class Workflows(BaseModel):
    """Processes under way and processes that wait for somebody; Temporal counts them, roughly."""

    running: int | None
    parked: int | None


class Health(BaseModel):
    """`error` (with 503) when the database cannot be written, `degraded` when something else is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "services": {
                        "database": "ok", "temporal": "ok", "worker": "ok", "webhook_inbox": "ok",
                        "alerts": "ok",
                    },
                    "uptime_seconds": 86400.0,
                    "inbox": {"waiting": 0, "oldest_seconds": 0.0},
                    "alerts": {"waiting": 0, "oldest_seconds": 0.0, "given_up": 0},
                    "workflows": {"running": 3, "parked": 1},
                }
            ]
        }
    )  # fmt: skip

    status: State
    services: ServiceStates
    uptime_seconds: float
    inbox: Inbox
    alerts: Outbox
    workflows: Workflows


class Readiness(BaseModel):
    """Whether this process can serve; `problems` says what is missing.

    With an operator's key `warnings` say what had better be changed.
    """

    ready: bool
    problems: list[str]
    warnings: list[str] | None = None


class Observer:
    """Looks at the parts, whoever asks, once in a moment. At the end of its context it stops."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, fresh_seconds: float, missing: Sequence[str]
    ) -> None:
        self._began_at, self._engine = time.monotonic(), engine
        self._health = _cached(partial(_look, engine, temporal), fresh_seconds)
        self._problems = _cached(partial(_problems, engine, temporal, missing), fresh_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._health.close()
        await self._problems.close()

    async def health(self) -> Health:
        """Say how the parts are."""
        seen = await self._health.get() or _nothing_seen()
        uptime_seconds = round(time.monotonic() - self._began_at, 1)
        return seen.model_copy(update={"uptime_seconds": uptime_seconds})

    async def readiness(self) -> Readiness:
        """Say whether this process should be sent requests: schema, Temporal, secrets."""
        problems = await self._problems.get()
        if problems is None:
            problems = ["nothing answers in time"]
        return Readiness(ready=not problems, problems=problems)

    async def excess(self) -> list[str]:
        """Say which rights the database role has that it does not need; nothing if it is away."""
        return await _probe(_excess(self._engine)) or []


async def _excess(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return await roles.excess(connection)


def _cached(look: Callable[[], Awaitable[Found]], fresh_seconds: float) -> CachedRead[Found]:
    return CachedRead(
        look,
        (),
        fresh_seconds=fresh_seconds,
        share=math.inf,
        stale_seconds=_STALE_SECONDS,
        patience_seconds=_PATIENCE_SECONDS,
    )


async def _look(engine: AsyncEngine, temporal: Client) -> Health:
    backlog, outbox, running, parked, polled = await asyncio.gather(
        _probe(_backlog(engine)),
        _probe(_outbox(engine)),
        _probe(_count(temporal, "ExecutionStatus = 'Running' AND BillingState = 'running'")),
        _probe(_count(temporal, "BillingState = 'parked'")),
        _probe(worker_polls(temporal)),
    )
    return _health(backlog, outbox, running, parked, polled=bool(polled))


def _nothing_seen() -> Health:
    return _health(None, None, None, None, polled=False)


def _health(
    backlog: Backlog | None,
    outbox: Outbox | None,
    running: int | None,
    parked: int | None,
    *,
    polled: bool,
) -> Health:
    states = ServiceStates(
        database=State.ERROR if backlog is None else State.OK,
        temporal=State.ERROR if running is None else State.OK,
        worker=State.OK if polled else State.ERROR,
        webhook_inbox=_inbox_state(backlog),
        alerts=_outbox_state(outbox),
    )
    return Health(
        status=_overall(states),
        services=states,
        uptime_seconds=0.0,
        inbox=Inbox(
            waiting=backlog and backlog.waiting, oldest_seconds=backlog and backlog.oldest_seconds
        ),
        alerts=outbox or Outbox(waiting=None, oldest_seconds=None, given_up=None),
        workflows=Workflows(running=running, parked=parked),
    )


async def _problems(engine: AsyncEngine, temporal: Client, missing: Sequence[str]) -> list[str]:
    found = (await _schema_problem(engine), await _temporal_problem(temporal), *missing)
    return [problem for problem in found if problem is not None]


async def _probe(question: Awaitable[Found]) -> Found | None:
    """Ask for at most two seconds. Return None if there is no answer."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            return await question
    except (*DATABASE_GONE, *TEMPORAL_GONE, Unusable):
        return None


async def _backlog(engine: AsyncEngine) -> Backlog:
    """Return what waits. Raise NotWritable where nothing more could be stored."""
    async with engine.connect() as connection:
        await writing.require(connection)
        return await inbox.backlog(connection)


async def _outbox(engine: AsyncEngine) -> Outbox:
    async with engine.connect() as connection:
        undelivered = await alerts.undelivered(connection)
        given_up = await alerts.given_up(connection, GIVEN_UP_WITHIN)
    return Outbox(
        waiting=undelivered.count, oldest_seconds=undelivered.oldest_seconds, given_up=given_up
    )


async def _count(temporal: Client, query: str) -> int:
    return (await temporal.count_workflows(query)).count


def _inbox_state(backlog: Backlog | None) -> State:
    if backlog is None:
        return State.ERROR
    return State.DEGRADED if backlog.oldest_seconds > INBOX_IS_LATE_SECONDS else State.OK


def _outbox_state(outbox: Outbox | None) -> State:
    """Return how the delivery of alerts is. Without a Slack webhook alerts go to the log."""
    if outbox is None:
        return State.ERROR
    is_late = (outbox.oldest_seconds or 0) > ALERTS_ARE_LATE_SECONDS
    return State.DEGRADED if is_late or outbox.given_up else State.OK


def _overall(states: ServiceStates) -> State:
    if states.database is State.ERROR:
        return State.ERROR
    everything = (states.temporal, states.worker, states.webhook_inbox, states.alerts)
    return State.OK if all(one is State.OK for one in everything) else State.DEGRADED


async def _schema_problem(engine: AsyncEngine) -> str | None:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS), engine.connect() as connection:
            await migrate.require_current(connection)
            await session.require(connection)
            await writing.require(connection)
    except Unusable as problem:
        return str(problem)
    except DATABASE_GONE as gone:
        if is_read_only(gone):
            return "the database is read-only"
        return f"the database does not answer ({type(gone).__name__})"
    return None


async def _temporal_problem(temporal: Client) -> str | None:
    reached = await _probe(_count(temporal, "BillingState = 'parked'"))
    return "Temporal does not answer" if reached is None else None
