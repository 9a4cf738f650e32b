"""Accept first: one durable write, then the right lane. Nothing else stands before the answer."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum
from typing import Self

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api.http.problems import Unavailable
from api.intake.group_commit import FLUSHERS, GroupCommit, NotStored
from api.monitoring.metrics import Metrics
from billing.alerts.alert import Alert
from billing.inbox.webhook_event import (
    OWN_LANE_GRACE_SECONDS,
    Drain,
    EventStatus,
    SessionHint,
    WebhookEvent,
)
from processes import checkouts, webhook_events
from processes.drains import nudge
from processes.errors import TEMPORAL_GONE
from store.alerts import alerts
from store.database import engine as store_engine
from store.database.errors import DATABASE_GONE
from store.inbox import inbox

# Its own: requests that wait for locked wallets must not keep webhooks waiting. One for each
# flusher, one for what is made due, one for an alert.
CONNECTIONS = FLUSHERS + 2
# More starts than this under way at once is Temporal falling behind: the drain takes the rest.
MOST_STARTS = 64
# What PostgreSQL does not take goes to Temporal, so many at once; more wait so long for a place.
MOST_STARTS_INSTEAD = 64
PLACE_SECONDS = 5.0
START_SECONDS = 5.0
NUDGE_EVERY_SECONDS = 0.25
# A flood shows within this time; a call's own workflow can wait for it, its sender does not.
LOOK_AHEAD_SECONDS = 0.25
_NUDGE_AGAIN_SECONDS = 1.0
log = structlog.get_logger()


class Accepted(StrEnum):
    """The honest answers to a webhook."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


class Intake:
    """An async context manager around the inbox, the lanes and the nudges."""

    def __init__(
        self, engine: AsyncEngine, temporal: Client, metrics: Metrics, own_workflow_rate: float
    ) -> None:
        self._engine = store_engine.beside(
            engine, application_name="callwallet intake", pool_size=CONNECTIONS, ping=True
        )
        self._temporal = temporal
        self._metrics = metrics
        self._inbox = GroupCommit(self._engine)
        self._flood = LeakyBucket(own_workflow_rate)
        self._first_drops: list[WebhookEvent] = []
        self._told = ""
        self._starts: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(MOST_STARTS_INSTEAD)
        self._nudge_wanted = asyncio.Event()
        self._nudge_wanted.set()  # an earlier process may have died between a write and a start
        self._nudges = set(Drain)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self._engine.dispose)
        await self._stack.enter_async_context(self._inbox)
        nudger = asyncio.create_task(self._nudge_for_ever())
        self._stack.callback(nudger.cancel)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let the starts that are under way finish; the drain would find them, but later."""
        if self._starts:
            await asyncio.wait(self._starts, timeout=NUDGE_EVERY_SECONDS * 8)
        await self._stack.aclose()

    async def accept(self, event: WebhookEvent) -> Accepted:
        """Make an event durable and send it on its way.

        Raise Unavailable when neither PostgreSQL nor Temporal could take it.
        """
        own_lane = not event.may_flood or not self._flood.overflows(time.monotonic())
        due_in_seconds = OWN_LANE_GRACE_SECONDS if own_lane else 0.0
        with self._metrics.accept_seconds.time():
            accepted = await self._store(replace(event, due_in_seconds=due_in_seconds))
        self._metrics.webhooks.labels(event.source, event.outcome or accepted).inc()
        if isinstance(event.facts, SessionHint) and accepted is not Accepted.DUPLICATE:
            self._soon(self._signal_checkout(event.facts.checkout_id, event.key))
        if accepted is Accepted.ACCEPTED and own_lane:
            self._soon(self._start_or_leave(event))
        elif accepted is Accepted.ACCEPTED:
            self._want_drain(event)
        return accepted

    def ignore(self, event: WebhookEvent) -> Accepted:
        """Count an event that moves no money, and of which nobody asks whether it arrived."""
        self._metrics.webhooks.labels(event.source, Accepted.IGNORED).inc()
        return Accepted.IGNORED

    def tell(self, alert: Alert) -> None:
        """Store an alert behind the answer, once for its key; the watch has it delivered."""
        if alert.key != self._told:
            self._told = alert.key
            self._soon(self._store_alert(alert))

    async def _store_alert(self, alert: Alert) -> None:
        try:
            async with self._engine.begin() as connection:
                await alerts.tell(connection, alert)
        except DATABASE_GONE as error:
            self._told = ""
            log.warning("an alert was not stored", key=alert.key, error=type(error).__name__)

    def _want_drain(self, event: WebhookEvent) -> None:
        self._nudges.add(event.handling.drain)
        self._nudge_wanted.set()

    async def _store(self, event: WebhookEvent) -> Accepted:
        try:
            is_new = await self._inbox.accept(event)
        except NotStored as error:
            log.warning("not in the inbox; going straight to Temporal", error=str(error))
            return await self._start_instead(event)
        if event.status is EventStatus.IGNORED:
            return Accepted.IGNORED
        return Accepted.ACCEPTED if is_new else Accepted.DUPLICATE

    async def _start_instead(self, event: WebhookEvent) -> Accepted:
        """Without the inbox the workflow is the durable write; its activities wait."""
        if event.status is EventStatus.IGNORED:
            return Accepted.IGNORED
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
            try:
                async with asyncio.timeout(START_SECONDS):
                    is_new = await webhook_events.start(self._temporal, event)
            finally:
                self._places.release()
        except (*TEMPORAL_GONE, TimeoutError) as error:
            self._metrics.webhooks.labels(event.source, "unavailable").inc()
            raise Unavailable("neither PostgreSQL nor Temporal took it") from error
        return Accepted.ACCEPTED if is_new else Accepted.DUPLICATE

    def _soon(self, start: Coroutine[None, None, None]) -> None:
        """Start or tell a workflow behind the answer; what is not done here it finds by itself."""
        if len(self._starts) >= MOST_STARTS:
            start.close()
            return
        task = asyncio.create_task(start)
        self._starts.add(task)
        task.add_done_callback(self._starts.discard)

    async def _start_or_leave(self, event: WebhookEvent) -> None:
        """Start a workflow, unless the event turns out to be one of the first drops of a flood."""
        if event.may_flood:
            await asyncio.sleep(LOOK_AHEAD_SECONDS)
            if self._flood.is_flooded(time.monotonic()):
                self._first_drops.append(event)
                self._want_drain(event)
                return
        try:
            await webhook_events.start(self._temporal, event)
        except TEMPORAL_GONE as error:
            log.warning("a start is left to the drain", error=str(error))
            self._want_drain(event)

    async def _signal_checkout(self, checkout_id: str, event_key: str) -> None:
        """Tell a checkout of its session; one that is over, or does not hear, looks by itself."""
        try:
            await checkouts.look_again(self._temporal, checkout_id, event_key)
        except TEMPORAL_GONE as error:
            log.info("a checkout was not told", workflow_id=checkout_id, error=str(error))

    async def _give_first_drops_to_drain(self) -> None:
        """Make them due now; if the database is away, their grace makes them due soon."""
        drops, self._first_drops = self._first_drops, []
        if drops:
            try:
                async with self._engine.begin() as connection:
                    for source in {event.source for event in drops}:
                        keys = [event.key for event in drops if event.source is source]
                        await inbox.make_due(connection, source, keys)
            except DATABASE_GONE as error:
                log.warning("a flood's first events wait a little", error=type(error).__name__)

    async def _nudge_for_ever(self) -> None:
        """Nudge each drain at most four times a second, and until it has heard."""
        while True:
            await self._nudge_wanted.wait()
            self._nudge_wanted.clear()
            await self._give_first_drops_to_drain()
            pause = NUDGE_EVERY_SECONDS
            drains, self._nudges = self._nudges, set()
            for drain in drains:
                try:
                    await nudge(self._temporal, drain)
                except TEMPORAL_GONE:
                    self._nudges.add(drain)
                    self._nudge_wanted.set()
                    pause = _NUDGE_AGAIN_SECONDS
            await asyncio.sleep(pause)


class LeakyBucket:
    """Tells a flood from a drizzle: every arrival fills it, and `rate` of them a second leak out.

    It is a flood while it runs over. It never fills beyond one second's worth above its brim, so
    that it is calm again about a second after a flood has ended, however large that was.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._brim = 2 * rate
        self._level = 0.0
        self._seen_at = 0.0

    def overflows(self, now: float) -> bool:
        """Take in one arrival at `now` (seconds on any steady clock); True in a flood."""
        self._leak(now)
        self._level = min(self._level + 1.0, self._brim + self._rate)
        return self._level > self._brim

    def is_flooded(self, now: float) -> bool:
        """Return whether there is a flood at `now`, with nothing new arriving."""
        self._leak(now)
        return self._level > self._brim

    def _leak(self, now: float) -> None:
        self._level = max(self._level - (now - self._seen_at) * self._rate, 0.0)
        self._seen_at = now
