"""Group commit: webhooks that arrive together share one INSERT and one fsync."""

import asyncio
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call_in_progress import OngoingCall
from billing.inbox.webhook_event import WebhookEvent
from store.calls import calls_in_progress
from store.database import migrate
from store.database.errors import DATABASE_GONE, Unusable
from store.inbox import inbox

FLUSHERS = 2
MOST_AT_ONCE = 128
FLUSH_TIMEOUT_SECONDS = 4.0
# What fails so many events of a batch, each alone, will fail the rest of it.
FAILURES_ENOUGH = 3
# It is about the database and not about an event.
_NOT_ABOUT_AN_EVENT = (*DATABASE_GONE, Unusable)


class NotStored(Exception):
    """An event was not stored, or that is unknown. The cause is what the database raised."""


class GroupCommit:
    """An async context manager; `accept` returns when the event is on disk."""

    def __init__(self, engine: AsyncEngine) -> None:
        # One statement is a transaction: it needs no BEGIN and no COMMIT of its own.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._waiting: list[tuple[WebhookEvent, asyncio.Future[bool]]] = []
        self._arrived = asyncio.Event()
        self._flushers: list[asyncio.Task[None]] = []
        self._schema_is_known = False

    async def __aenter__(self) -> Self:
        self._flushers = [asyncio.create_task(self._flush_for_ever()) for _ in range(FLUSHERS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for flusher in self._flushers:
            flusher.cancel()
        await asyncio.gather(*self._flushers, return_exceptions=True)

    async def accept(self, event: WebhookEvent) -> bool:
        """Store an event durably; False when it had been stored before. Raise NotStored."""
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, stored))
        self._arrived.set()
        return await stored

    async def _flush_for_ever(self) -> None:
        while True:
            await self._arrived.wait()
            batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            if not self._waiting:
                self._arrived.clear()
            if batch:
                await self._flush(batch)

    async def _flush(self, batch: list[tuple[WebhookEvent, asyncio.Future[bool]]]) -> bool:
        """Store a batch and tell those who wait; one bad event fails alone.

        Return whether all were stored in one. The futures do not say: a sender may have hung up.
        """
        try:
            new = await self._store([event for event, _ in batch])
        except _NOT_ABOUT_AN_EVENT as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, each request hears of it; a flusher that died would leave them
            # waiting.
            if len(batch) == 1:
                _fail(batch, error)
            else:
                await self._flush_one_by_one(batch, error)
        else:
            _succeed(batch, new)
            return True
        return False

    async def _flush_one_by_one(
        self, batch: list[tuple[WebhookEvent, asyncio.Future[bool]]], error: Exception
    ) -> None:
        failures = 0
        for position, one in enumerate(batch):
            failures = 0 if await self._flush([one]) else failures + 1
            if failures == FAILURES_ENOUGH:
                _fail(batch[position + 1 :], error)
                return

    async def _store(self, events: list[WebhookEvent]) -> set[tuple[str, str]]:
        """Insert in key order, so that two flushers with the same keys cannot deadlock."""
        async with asyncio.timeout(FLUSH_TIMEOUT_SECONDS), self._engine.connect() as connection:
            if not self._schema_is_known:
                await migrate.require_current(connection)
                self._schema_is_known = True
            ongoing = [one.facts for one in events if isinstance(one.facts, OngoingCall)]
            if ongoing:
                await calls_in_progress.note(connection, ongoing)
            return await inbox.accept(connection, sorted(events, key=lambda one: one.key))


def _succeed(
    batch: list[tuple[WebhookEvent, asyncio.Future[bool]]], new: set[tuple[str, str]]
) -> None:
    for event, stored in batch:
        if not stored.done():
            stored.set_result(event.identity in new)
        # An ignored event hears nothing of this, and must not hide that the one that counts is new.
        if event.counts:
            new.discard(event.identity)


def _fail(batch: list[tuple[WebhookEvent, asyncio.Future[bool]]], error: Exception) -> None:
    for _, stored in batch:
        if not stored.done():
            not_stored = NotStored(type(error).__name__)
            not_stored.__cause__ = error
            stored.set_exception(not_stored)
