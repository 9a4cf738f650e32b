"""Webhooks that arrive together share a commit, and nothing else."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DataError
from sqlalchemy.ext.asyncio import AsyncEngine

from api.intake.group_commit import FLUSHERS, MOST_AT_ONCE, GroupCommit, NotStored
from billing.inbox.webhook_event import EventStatus, Source, WebhookEvent
from store.database.migrate import UnknownSchema
from store.schema import webhook_events
from tests.conftest import NewDatabase
from tests.support.factories import unique


def event() -> WebhookEvent:
    return WebhookEvent(Source.STRIPE, unique("evt"), "customer.created", "", "{}")


async def stored(engine: AsyncEngine, *events: WebhookEvent) -> int:
    keys = [one.key for one in events]
    async with engine.connect() as connection:
        count = select(func.count()).where(webhook_events.c.key.in_(keys))
        return int((await connection.execute(count)).scalar_one())


async def test_one_bad_event_does_not_fail_those_that_arrive_with_it(engine: AsyncEngine) -> None:
    good = [event() for _ in range(20)]
    bad = replace(event(), body="PostgreSQL stores no \0 in a text")
    async with GroupCommit(engine) as inbox:
        outcomes = await asyncio.gather(
            *(inbox.accept(one) for one in (*good[:10], bad, *good[10:])), return_exceptions=True
        )
    failed = outcomes.pop(10)
    assert isinstance(failed, NotStored)
    assert isinstance(failed.__cause__, DataError)
    assert outcomes == [True] * 20
    assert await stored(engine, *good) == 20
    assert await stored(engine, bad) == 0


async def test_the_same_event_twice_in_one_commit_is_new_once(engine: AsyncEngine) -> None:
    same = event()
    async with GroupCommit(engine) as inbox:
        outcomes = await asyncio.gather(*(inbox.accept(same) for _ in range(10)))
    assert sorted(outcomes) == [False] * 9 + [True]


async def test_more_than_a_commit_holds_are_all_stored(engine: AsyncEngine) -> None:
    events = [event() for _ in range(3 * MOST_AT_ONCE + 1)]
    async with GroupCommit(engine) as inbox:
        assert all(await asyncio.gather(*(inbox.accept(one) for one in events)))
    assert await stored(engine, *events) == len(events)


async def test_events_that_arrive_together_share_commits(engine_apart: AsyncEngine) -> None:
    """Every row remembers the transaction that wrote it."""
    async with GroupCommit(engine_apart) as inbox:
        await asyncio.gather(*(inbox.accept(event()) for _ in range(100)))
    async with engine_apart.connect() as connection:
        query = text("SELECT count(*), count(DISTINCT xmin::text) FROM webhook_events")
        rows, commits = (await connection.execute(query)).one()
    assert rows == 100
    assert commits < 10


async def test_a_caller_who_hangs_up_does_not_fail_the_others(engine: AsyncEngine) -> None:
    gone, stays = event(), event()
    async with GroupCommit(engine) as inbox:
        hangs_up = asyncio.create_task(inbox.accept(gone))
        waits = asyncio.create_task(inbox.accept(stays))
        await asyncio.sleep(0)
        hangs_up.cancel()
        assert await waits
    assert await stored(engine, stays) == 1


async def test_nothing_is_written_into_a_schema_that_it_does_not_know(
    new_database: NewDatabase,
) -> None:
    async with GroupCommit(await new_database()) as inbox:
        with pytest.raises(NotStored, match="UnknownSchema") as refused:
            await inbox.accept(event())
    assert isinstance(refused.value.__cause__, UnknownSchema)


async def test_a_caller_who_hangs_up_beside_a_bad_event_stops_nobody(engine: AsyncEngine) -> None:
    bad = replace(event(), body="PostgreSQL stores no \0 in a text")
    good = [event() for _ in range(3)]
    async with GroupCommit(engine) as inbox:
        gone = asyncio.create_task(inbox.accept(event()))
        others = [asyncio.create_task(inbox.accept(one)) for one in (bad, *good)]
        await asyncio.sleep(0)
        gone.cancel()
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*others, return_exceptions=True)
            later = [await inbox.accept(event()) for _ in range(FLUSHERS + 1)]
    assert isinstance(outcomes.pop(0), NotStored)
    assert outcomes == [True] * 3
    assert all(later)


async def test_an_ignored_event_beside_one_that_counts_does_not_make_it_a_duplicate(
    engine: AsyncEngine,
) -> None:
    counts = event()
    ignored = replace(counts, status=EventStatus.IGNORED)
    async with GroupCommit(engine) as inbox:
        outcomes = await asyncio.gather(*map(inbox.accept, (ignored, counts, ignored, counts)))
    assert outcomes[1::2] == [True, False]
