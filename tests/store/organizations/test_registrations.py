"""Whose an assistant, a number or a sender was, and when: one owner at a time, on record."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import EndedCall
from billing.organizations import AgentKind, Answerer
from store.calls import owners
from store.database import migrate
from store.organizations import agents
from tests.conftest import NewDatabase
from tests.support.factories import (
    an_assistant,
    an_organization,
    ended_call,
    move,
    now,
    register,
    unique,
    unregister,
)
from tests.support.migrations import to_revision

NUMBER = AgentKind.PHONE_NUMBER
LONG_AGO = datetime(2020, 2, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


async def owner_of(engine: AsyncEngine, call: EndedCall) -> str | None:
    async with engine.connect() as connection:
        return (await owners.of_calls(connection, [call])).get(call.call_id)


async def owner_at(
    engine: AsyncEngine, began_at: datetime, assistant: str | None, number: str | None = None
) -> str | None:
    """Whose a call is that began then."""
    call = ended_call(assistant, 60, ended_at=began_at + MINUTE, phone_number_id=number)
    return await owner_of(engine, call)


async def by_hand(engine: AsyncEngine, statement: str, **given: object) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), given)


async def periods_of(engine: AsyncEngine, agent_id: str) -> list[tuple[str, bool]]:
    """Its registrations, oldest first: to whom, and whether it holds still."""
    query = text(
        "SELECT org_id, until = 'infinity' FROM registrations WHERE agent_id = :agent_id"
        " ORDER BY since"
    )
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(query, {"agent_id": agent_id})]


async def test_a_call_is_of_whoever_had_its_assistant_when_it_began(engine: AsyncEngine) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    before = await now(engine)
    after = await move(engine, assistant, one, other)
    back = await move(engine, assistant, other, one)
    found = [await owner_at(engine, moment, assistant) for moment in (before, after, back)]
    assert found == [one, other, one]
    assert await periods_of(engine, assistant) == [(one, False), (other, False), (one, True)]


async def test_a_deleted_assistant_keeps_its_calls_and_gets_no_more(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    before = await now(engine)
    await unregister(engine, assistant, org_id)
    after = await now(engine)
    assert await owner_at(engine, before, assistant) == org_id
    assert await owner_at(engine, after, assistant) is None


async def test_what_nobody_had_is_of_the_first_who_registers_it_afterwards(
    engine: AsyncEngine,
) -> None:
    one, two, three = [await an_organization(engine) for _ in range(3)]
    assistant = await an_assistant(engine, one)
    await unregister(engine, assistant, one)
    gap = await now(engine)
    await register(engine, assistant, two)
    await move(engine, assistant, two, three)
    assert await owner_at(engine, gap, assistant) == two
    assert await owner_at(engine, LONG_AGO, assistant) == one


async def test_who_had_the_number_goes_before_who_registers_the_assistant_later(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    number = await register(engine, unique("number"), one, NUMBER)
    began_at = await now(engine)
    assistant = await an_assistant(engine, other)
    assert await owner_at(engine, began_at, assistant, number) == one
    assert await owner_at(engine, await now(engine), assistant, number) == other


async def test_of_an_assistant_and_a_number_of_nobody_the_first_registration_counts(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    number = await register(engine, unique("number"), one, NUMBER)
    assistant = await an_assistant(engine, other)
    assert await owner_at(engine, LONG_AGO, assistant, number) == one


async def test_a_call_without_a_beginning_goes_by_its_end(engine: AsyncEngine) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    call = EndedCall(unique("call"), assistant, ended_at=await now(engine), provider_ended=True)
    await move(engine, assistant, one, other)
    assert await owner_of(engine, call) == one
    assert await owner_of(engine, EndedCall(unique("call"), assistant)) == other


async def test_the_same_registered_again_begins_nothing_anew(engine: AsyncEngine) -> None:
    org_id, number = await an_organization(engine), unique("number")
    for assistant in (None, "first", None, "other"):
        answerer = Answerer(assistant, AgentKind.ASSISTANT) if assistant else None
        async with engine.begin() as connection:
            await agents.register(connection, number, NUMBER, org_id, answerer)
    assert await periods_of(engine, number) == [(org_id, True)]


async def test_moved_to_and_fro_in_one_transaction_it_has_one_owner_at_a_time(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    async with engine.begin() as connection:
        for owner, heir in ((one, other), (other, one), (one, other)):
            await agents.remove(connection, assistant, owner)
            await agents.register(connection, assistant, AgentKind.ASSISTANT, heir)
    assert [org_id for org_id, _ in await periods_of(engine, assistant)] == [one, other, one, other]


async def test_many_who_move_it_at_once_leave_one_owner_at_a_time(engine: AsyncEngine) -> None:
    orgs = [await an_organization(engine) for _ in range(4)]
    assistant = unique("assistant")

    async def take(org_id: str) -> None:
        async with engine.begin() as connection:
            await connection.execute(
                text("DELETE FROM agents WHERE agent_id = :agent_id"), {"agent_id": assistant}
            )
            await connection.execute(
                text(
                    "INSERT INTO agents (agent_id, kind, org_id)"
                    " VALUES (:agent_id, 'assistant', :org_id) ON CONFLICT DO NOTHING"
                ),
                {"agent_id": assistant, "org_id": org_id},
            )

    await asyncio.gather(*(take(org_id) for org_id in orgs * 5))
    periods = await periods_of(engine, assistant)
    assert [still for _, still in periods] == [False] * (len(periods) - 1) + [True]


@pytest.mark.parametrize(
    ("since", "until"),
    [("-infinity", "infinity"), ("2020-01-01", "2021-01-01"), ("2029-01-01", "infinity")],
)
async def test_postgresql_refuses_two_owners_at_a_time(
    engine: AsyncEngine, since: str, until: str
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = unique("assistant")
    statement = (
        "INSERT INTO registrations (agent_id, kind, org_id, since, until) VALUES"
        " (:agent_id, 'assistant', :org_id, CAST(:since AS timestamptz),"
        " CAST(:until AS timestamptz))"
    )
    given = {"agent_id": assistant}
    await by_hand(engine, statement, org_id=one, since="-infinity", until="infinity", **given)
    with pytest.raises(IntegrityError, match=r"registrations_(one_owner|pkey)"):
        await by_hand(engine, statement, org_id=other, since=since, until=until, **given)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM registrations WHERE agent_id = :agent_id",
        "UPDATE registrations SET org_id = :other WHERE agent_id = :agent_id",
        "UPDATE registrations SET since = '-infinity' WHERE agent_id = :agent_id",
        "UPDATE registrations SET until = 'infinity' WHERE agent_id = :agent_id"
        " AND until < 'infinity'",
        "TRUNCATE registrations",
    ],
)
async def test_who_owned_what_is_never_changed_afterwards(
    engine: AsyncEngine, statement: str
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    await move(engine, assistant, one, other)
    with pytest.raises(DBAPIError, match="append-only"):
        await by_hand(engine, statement, agent_id=assistant, other=other)


async def test_what_was_registered_before_holds_from_the_beginning(
    new_database: NewDatabase,
) -> None:
    """And what the version before goes on writing is kept as well."""
    engine = await new_database()
    async with engine.begin() as connection:
        await connection.run_sync(to_revision, "0016")
        for statement in (
            "INSERT INTO organizations (org_id, name) VALUES ('one', ''), ('other', '')",
            "INSERT INTO agents (agent_id, kind, org_id) VALUES ('old', 'assistant', 'one')",
        ):
            await connection.execute(text(statement))
    await migrate.upgrade(engine)
    assert await owner_at(engine, LONG_AGO, "old") == "one"
    before = await now(engine)
    for statement in (
        "INSERT INTO agents (agent_id, kind, org_id, answered_by)"
        " VALUES ('old', 'assistant', 'one', 'x') ON CONFLICT (agent_id)"
        " DO UPDATE SET answered_by = excluded.answered_by WHERE agents.org_id = 'one'",
        "DELETE FROM agents WHERE agent_id = 'old' AND org_id = 'one'",
        "INSERT INTO agents (agent_id, kind, org_id) VALUES ('old', 'assistant', 'other')",
    ):
        await by_hand(engine, statement)
    assert await periods_of(engine, "old") == [("one", False), ("other", True)]
    assert [await owner_at(engine, at, "old") for at in (LONG_AGO, before, await now(engine))] == [
        "one",
        "one",
        "other",
    ]
    await by_hand(engine, "UPDATE agents SET org_id = 'one' WHERE agent_id = 'old'")
    assert await owner_at(engine, await now(engine), "old") == "one"
