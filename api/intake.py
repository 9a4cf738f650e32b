"""Accept first: one durable write, then the right lane. Nothing else stands before the answer."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from enum import StrEnum
from typing import Self

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api import processes
from api.flood import LeakyBucket
from api.group_commit import GroupCommit
from api.metrics import Metrics
from api.problems import DATABASE_GONE, TEMPORAL_GONE, Unavailable
from billing.webhook import (
    OWN_LANE_GRACE_SECONDS,
    EventStatus,
    PaymentHint,
    Source,
    WebhookEvent,
)
from store import inbox
from store.migrate import UnknownSchema
from workflows.checkout import Checkout
from workflows.namespace import nudge_drain, nudge_message_drain

# More starts than this under way at once is Temporal falling behind: the drain takes the rest.
MOST_STARTS = 64
NUDGE_EVERY_SECONDS = 0.25
# A flood shows within this time; a call's own workflow can wait for it, its sender does not.
LOOK_AHEAD_SECONDS = 0.25
_NUDGE_AGAIN_SECONDS = 1.0
_Nudge = Callable[[Client], Awaitable[None]]
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
        self._engine = engine
        self._temporal = temporal
        self._metrics = metrics
        self._inbox = GroupCommit(engine)
        self._flood = LeakyBucket(own_workflow_rate)
        self._first_drops: list[WebhookEvent] = []
        self._starts: set[asyncio.Task[None]] = set()
        self._nudge_wanted = asyncio.Event()
        self._nudge_wanted.set()  # an earlier process may have died between a write and a start
        self._nudges: set[_Nudge] = {nudge_drain, nudge_message_drain}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
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

        Raises Unavailable when neither PostgreSQL nor Temporal could take it.
        """
        own_lane = not _is_usage(event) or not self._flood.overflows(time.monotonic())
        due_in_seconds = OWN_LANE_GRACE_SECONDS if own_lane else 0.0
        with self._metrics.accept_seconds.time():
            accepted = await self._store(replace(event, due_in_seconds=due_in_seconds))
        self._metrics.webhooks.labels(event.source, accepted).inc()
        if event.checkout_id is not None and accepted is not Accepted.DUPLICATE:
            self._soon(_tell_checkout(self._temporal, event.checkout_id, event.key))
        if accepted is Accepted.ACCEPTED and own_lane:
            self._soon(self._start_or_leave(event))
        elif accepted is Accepted.ACCEPTED:
            self._want_drain(event)
        return accepted

    def _want_drain(self, event: WebhookEvent) -> None:
        self._nudges.add(nudge_drain if event.message is None else nudge_message_drain)
        self._nudge_wanted.set()

    async def _store(self, event: WebhookEvent) -> Accepted:
        try:
            is_new = await self._inbox.accept(event)
        except (*DATABASE_GONE, UnknownSchema) as error:
            log.warning("inbox is away; going straight to Temporal", error=type(error).__name__)
            return await self._start_instead(event)
        if event.status is EventStatus.IGNORED:
            return Accepted.IGNORED
        return Accepted.ACCEPTED if is_new else Accepted.DUPLICATE

    async def _start_instead(self, event: WebhookEvent) -> Accepted:
        """Without PostgreSQL the workflow is the durable write; its activities wait."""
        if event.status is EventStatus.IGNORED:
            return Accepted.IGNORED
        try:
            is_new = await _start(self._temporal, event)
        except TEMPORAL_GONE as error:
            self._metrics.webhooks.labels(event.source, "unavailable").inc()
            raise Unavailable("neither PostgreSQL nor Temporal answers") from error
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
        if _is_usage(event):
            await asyncio.sleep(LOOK_AHEAD_SECONDS)
            if self._flood.is_flooded(time.monotonic()):
                self._first_drops.append(event)
                self._want_drain(event)
                return
        try:
            await _start(self._temporal, event)
        except TEMPORAL_GONE as error:
            log.warning("a start is left to the drain", error=str(error))
            self._want_drain(event)

    async def _give_first_drops_to_drain(self) -> None:
        """Make them due now; if the database is away, their grace makes them due soon."""
        drops, self._first_drops = self._first_drops, []
        if drops:
            try:
                async with self._engine.begin() as connection:
                    for source in (Source.VAPI, Source.TWILIO):
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
            nudges, self._nudges = self._nudges, set()
            for nudge in nudges:
                try:
                    await nudge(self._temporal)
                except TEMPORAL_GONE:
                    self._nudges.add(nudge)
                    self._nudge_wanted.set()
                    pause = _NUDGE_AGAIN_SECONDS
            await asyncio.sleep(pause)


def _is_usage(event: WebhookEvent) -> bool:
    """Whether it comes by the thousand: a call that has ended, or what became of a message."""
    return event.call is not None or event.message is not None


async def _tell_checkout(temporal: Client, workflow_id: str, event_key: str) -> None:
    """Tell a checkout of its session; one that is over, or does not hear, looks by itself."""
    try:
        await temporal.get_workflow_handle(workflow_id).signal(Checkout.look_again, event_key)
    except TEMPORAL_GONE as error:
        log.info("a checkout was not told", workflow_id=workflow_id, error=str(error))


async def _start(temporal: Client, event: WebhookEvent) -> bool:
    """Start (or signal) the workflow of an event; False when the event says nothing new."""
    if event.call is not None:
        return await processes.bill(temporal, event.call)
    if event.message is not None:
        return await processes.hear_of_message(temporal, event.message)
    return await processes.look_at_payment(temporal, PaymentHint(event.subject, event.key))
