"""What people have said: kept once, in order, for good."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.parking.parked_work import DecisionRecord, Verdict
from store import parking
from tests.support.factories import NOON, unique


def a_decision(org_id: str | None = None) -> DecisionRecord:
    return DecisionRecord(
        workflow_id=unique("call/call"),
        run_id=unique("run"),
        number=1,
        verdict=Verdict.REPROCESS,
        who_and_why="Ann: it is mended",
        org_id=org_id,
        reason="fault",
        decided_at=NOON,
    )


async def listed(engine: AsyncEngine, **which: str) -> list[DecisionRecord]:
    async with engine.connect() as connection:
        found = await parking.page(connection, None, 100, **which)
    return [replace(one, position=0) for one in found]


async def test_what_was_said_is_kept_once_however_often_it_is_recorded(engine: AsyncEngine) -> None:
    first = a_decision()
    second = replace(first, number=2, verdict=Verdict.DISCARD)
    for records in ([first], [first, second], [first, second], []):
        async with engine.begin() as connection:
            await parking.record(connection, records)
    assert await listed(engine, workflow_id=first.workflow_id) == [second, first]


async def test_decisions_are_listed_newest_first_by_workflow_by_organisation_and_in_pages(
    engine: AsyncEngine,
) -> None:
    org_id = unique("org")
    records = [a_decision(org_id=org_id) for _ in range(3)]
    async with engine.begin() as connection:
        await parking.record(connection, [*records, a_decision(org_id=unique("org"))])
    assert await listed(engine, org_id=org_id) == records[::-1]
    assert await listed(engine, org_id=org_id, workflow_id=records[0].workflow_id) == records[:1]
    async with engine.connect() as connection:
        [newest] = await parking.page(connection, None, 1, org_id=org_id)
        older = await parking.page(connection, newest.position, 5, org_id=org_id)
    assert [one.workflow_id for one in older] == [one.workflow_id for one in records[1::-1]]


@pytest.mark.parametrize(
    "change",
    ["UPDATE decisions SET who_and_why = 'Bob'", "DELETE FROM decisions", "TRUNCATE decisions"],
)
async def test_what_was_said_is_never_changed(engine: AsyncEngine, change: str) -> None:
    async with engine.begin() as connection:
        await parking.record(connection, [a_decision()])
    with pytest.raises(DBAPIError, match="append-only"):
        async with engine.begin() as connection:
            await connection.execute(text(change))
