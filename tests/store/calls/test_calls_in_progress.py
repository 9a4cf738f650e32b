"""Calls that are going on: known until somebody has seen to them, and taken when overdue."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from billing.calls.call import EndedCall
from billing.calls.call_in_progress import OngoingCall
from billing.calls.facts import of_notice
from billing.inbox.webhook_event import Source
from store.calls import calls, calls_in_progress
from store.inbox import inbox
from tests.support.factories import ended_call, unique
from tests.support.inbox_events import report_of

LATER = 60.0


def going_on(call_id: str | None = None, due_in_seconds: float = -1.0) -> OngoingCall:
    return OngoingCall(call_id or unique("call"), "assistant", None, due_in_seconds)


@pytest.fixture
async def connection(engine_apart: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    async with engine_apart.connect() as opened:
        yield await opened.execution_options(isolation_level="AUTOCOMMIT")


async def overdue(connection: AsyncConnection, limit: int = 100) -> list[EndedCall]:
    """Take what is overdue, as the drain does."""
    await calls_in_progress.forget(connection, await calls_in_progress.done_with(connection))
    named = await calls_in_progress.overdue(connection, limit)
    return await calls_in_progress.take(connection, named, LATER)


async def known(connection: AsyncConnection) -> int:
    return int(await connection.scalar(text("SELECT count(*) FROM calls_in_progress")) or 0)


async def seconds_left(connection: AsyncConnection) -> list[int]:
    query = text("SELECT extract(epoch FROM due_at - now()) FROM calls_in_progress")
    return [round(left, -1) for [left] in await connection.execute(query)]


async def test_an_overdue_call_is_taken_once_and_again_later_with_nothing_known_of_its_end(
    connection: AsyncConnection,
) -> None:
    call = going_on()
    await calls_in_progress.note(connection, [call, going_on(due_in_seconds=500)])
    assert await overdue(connection) == [of_notice(call.call_id, "assistant")]
    assert await overdue(connection) == []
    assert sorted(await seconds_left(connection)) == [60, 500]


async def test_of_several_times_the_earliest_counts_in_whatever_order_they_come(
    connection: AsyncConnection,
) -> None:
    call_id = unique("call")
    for batch in ([300, 500], [60], [800, 700], [90]):
        await calls_in_progress.note(connection, [going_on(call_id, due) for due in batch])
    assert await seconds_left(connection) == [60]


async def test_what_is_learned_later_completes_what_is_known(connection: AsyncConnection) -> None:
    call_id = unique("call")
    await calls_in_progress.note(connection, [OngoingCall(call_id, None, "number", -1)])
    await calls_in_progress.note(connection, [OngoingCall(call_id, "assistant", None, 100)])
    await calls_in_progress.note(connection, [OngoingCall(call_id, "another", "another", 100)])
    assert await overdue(connection) == [of_notice(call_id, "assistant", "number")]


async def test_a_call_whose_report_has_come_does_not_begin_again(
    connection: AsyncConnection,
) -> None:
    call = ended_call()
    await inbox.accept(connection, [report_of(call)])
    await calls_in_progress.note(connection, [going_on(call.call_id)])
    assert await known(connection) == 0


async def test_a_call_that_was_billed_without_a_report_does_not_begin_again(
    connection: AsyncConnection,
) -> None:
    call = ended_call("nobody's")
    await calls.charge(connection, [call])
    await calls_in_progress.note(connection, [going_on(call.call_id)])
    assert await known(connection) == 0


async def test_a_call_that_was_seen_to_in_time_is_forgotten_when_it_would_be_due(
    connection: AsyncConnection,
) -> None:
    """While its report waits in the inbox, its cap is still needed."""
    reported, charged = ended_call("nobody's"), ended_call("nobody's")
    await calls_in_progress.note(
        connection, [going_on(call.call_id) for call in (reported, charged)]
    )
    report = report_of(reported)
    await inbox.accept(connection, [report])
    await calls.charge(connection, [charged])
    assert await overdue(connection) == []
    assert await known(connection) == 1
    await inbox.handled_by_key(connection, Source.VAPI, [report.key])
    assert await overdue(connection) == []
    assert await known(connection) == 0


async def test_the_longest_overdue_are_taken_first(connection: AsyncConnection) -> None:
    noted = [going_on(due_in_seconds=-due) for due in range(10)]
    await calls_in_progress.note(connection, noted)
    taken = {call.call_id for call in await overdue(connection, 3)}
    assert taken == {call.call_id for call in noted[-3:]}


async def test_two_who_note_the_same_calls_at_once_do_not_deadlock(
    engine_apart: AsyncEngine,
) -> None:
    noted = [going_on() for _ in range(200)]

    async def note(batch: list[OngoingCall]) -> None:
        for _ in range(5):
            async with engine_apart.begin() as connection:
                await calls_in_progress.note(connection, batch)

    await asyncio.gather(note(noted), note(noted[::-1]))
    async with engine_apart.begin() as connection:
        assert len(await overdue(connection, 1000)) == 200
