"""Who decided what about parked work, and why: written down each time, before it is acted on."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.calls.call import CallState
from billing.parking.parked_work import Verdict
from tests.support.eventually import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
)
from tests.support.parked_workflows import (
    attributes,
    collect_all,
    discard,
    ended,
    recorded,
    reprocess,
    start_bill,
    tries,
    until_parked,
)
from tests.workflows.conftest import World
from tests.workflows.test_parking import Call, over_the_limit
from workflows import bill_call
from workflows.bill_call import BillCall

REPROCESS, DISCARD = Verdict.REPROCESS, Verdict.DISCARD


async def words(engine: AsyncEngine, handle: Call) -> list[tuple[str, str]]:
    return [(one.verdict, one.who_and_why) for one in await recorded(engine, handle.id)]


async def test_a_decision_is_recorded_with_who_and_why_and_in_what_state(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, _ = await over_the_limit(worker, engine)
    await reprocess(handle, "Ann: just looking")
    assert (await discard(handle, "Bob: agreed with the customer")).state == "discarded"
    first, second = await recorded(engine, handle.id)
    run_id = (await handle.describe()).run_id
    assert (first.run_id, first.number, first.verdict) == (run_id, 1, REPROCESS)
    assert (second.run_id, second.number, second.verdict) == (run_id, 2, DISCARD)
    assert [one.who_and_why for one in (first, second)] == [
        "Ann: just looking", "Bob: agreed with the customer",
    ]  # fmt: skip
    assert {(one.org_id, one.reason) for one in (first, second)} == {(org_id, "debt_limit")}
    assert first.decided_at < second.decided_at


async def test_what_is_said_three_times_is_recorded_three_times_and_acted_on_once(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, call = await over_the_limit(worker, engine)
    await credit(engine, org_id, 3000)
    said = [f"Ann: the money is there ({number})" for number in range(3)]
    await asyncio.gather(*(handle.signal(BillCall.reprocess, one) for one in said))
    assert (await ended(handle)).state is CallState.SETTLED
    found = await words(engine, handle)
    assert sorted(found) == [(REPROCESS, one) for one in said]
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    assert await balance_of(engine, org_id) == 3000 - 553


async def test_a_discard_and_a_reprocess_at_once_are_both_recorded_and_one_holds(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle, _ = await over_the_limit(worker, engine)
    await asyncio.gather(
        *(handle.signal(BillCall.reprocess, f"Ann: {number}") for number in range(5)),
        *(handle.signal(BillCall.discard, f"Bob: {number}") for number in range(5)),
    )
    assert (await ended(handle)).state is CallState.DISCARDED
    assert len(await words(engine, handle)) == 10
    assert await keys_of(engine, org_id) == []


async def test_what_is_said_to_a_call_that_settles_anyway_is_recorded_before_it_closes(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    handle = await worker.start_workflow(
        BillCall.run,
        call,
        start_signal="discard",
        start_signal_args=["Ann: a test call"],
        **bill_call.start_options(call),
    )
    assert (await ended(handle)).state is CallState.SETTLED
    [record] = await recorded(engine, handle.id)
    assert (record.verdict, record.who_and_why, record.reason) == (
        DISCARD, "Ann: a test call", None,
    )  # fmt: skip


async def test_money_that_arrives_is_nobodys_decision(worker: Client, engine: AsyncEngine) -> None:
    org_id, handle, _ = await over_the_limit(worker, engine)
    await credit(engine, org_id, 553)
    assert await collect_all(worker, org_id) == 1
    assert (await ended(handle)).state is CallState.SETTLED
    assert await words(engine, handle) == []


@pytest.mark.parametrize("nothing", [[], [""], ["  "], ["\x00"], [{"who": "Ann"}], [4711]])
async def test_a_signal_that_does_not_say_who_and_why_decides_nothing_and_breaks_nothing(
    worker: Client, engine: AsyncEngine, nothing: list[object]
) -> None:
    org_id, handle, _ = await over_the_limit(worker, engine)
    for signal in ("discard", "reprocess"):
        await handle.signal(signal, args=nothing)
    assert str(await reprocess(handle, "Ann: is it well?")).startswith("parked: debt_limit")
    assert (await attributes(handle))[:3] == ("parked", "debt_limit", org_id)
    assert await words(engine, handle) == [(REPROCESS, "Ann: is it well?")]


async def test_what_postgresql_would_not_take_is_left_out_of_what_is_recorded(
    worker: Client, engine: AsyncEngine
) -> None:
    _, handle, _ = await over_the_limit(worker, engine)
    await handle.signal(BillCall.discard, "Ann\x00: " + "very " * 10_000 + "long")
    assert (await ended(handle)).state is CallState.DISCARDED
    [(_, said)] = await words(engine, handle)
    assert said.startswith("Ann: very very")
    assert len(said) == 1000


async def test_while_decisions_cannot_be_recorded_they_are_heard_and_wait(world: World) -> None:
    """PostgreSQL refuses to record them: nothing is done that nobody could be held to."""
    org_id = await an_organization(world.engine)
    call = ended_call(await an_assistant(world.engine, org_id), 600)
    handle = await start_bill(world.temporal, call)
    await until_parked(handle, "debt_limit")
    await credit(world.engine, org_id, 1000)
    await rename(world.engine, "decisions", "away")
    await handle.signal(BillCall.reprocess, "Ann: one")

    async def is_tried() -> bool:
        return bool(await tries(handle, "record_decisions"))

    await eventually(is_tried)
    for said in ("Ann: two", "Ann: three"):
        await handle.signal(BillCall.reprocess, said)
    assert (await attributes(handle))[0] == "parked"
    assert await balance_of(world.engine, org_id) == 1000

    await rename(world.engine, "away", "decisions")
    assert (await ended(handle)).state is CallState.SETTLED
    assert await words(world.engine, handle) == [
        (REPROCESS, "Ann: one"), (REPROCESS, "Ann: two"), (REPROCESS, "Ann: three"),
    ]  # fmt: skip
    assert await balance_of(world.engine, org_id) == 1000 - 553


async def rename(engine: AsyncEngine, table: str, to: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE {table} RENAME TO {to}"))
