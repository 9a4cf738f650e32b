"""Whoever owed a call, owes it: what becomes of its assistant changes only later calls."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallBill, CallState, EndedCall
from billing.organizations import AgentKind
from store.calls import call_records, calls, waiting_calls
from tests.support.answers import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    credit,
    ended_call,
    keys_of,
    move,
    now,
    register,
    unique,
    unregister,
    with_money,
)

NUMBER = AgentKind.PHONE_NUMBER


async def charge(engine: AsyncEngine, *ended: EndedCall) -> list[CallBill]:
    async with engine.begin() as connection:
        return await calls.charge(connection, ended)


async def waiting(engine: AsyncEngine, org_id: str) -> set[str]:
    async with engine.connect() as connection:
        return set(
            await waiting_calls.chargeable(connection, await with_money(engine, org_id), 100)
        )


async def owner_of(engine: AsyncEngine, call: EndedCall) -> str | None:
    async with engine.connect() as connection:
        return (await call_records.read(connection, call.call_id)).org_id


def call_at(began_at: datetime, assistant: str | None, seconds: float = 60) -> EndedCall:
    return ended_call(assistant, seconds, ended_at=began_at + timedelta(seconds=seconds))


async def balances(engine: AsyncEngine, *org_ids: str) -> list[int]:
    return [await balance_of(engine, org_id) for org_id in org_ids]


async def test_a_refused_call_waits_for_its_debtor_though_the_assistant_moves(
    engine: AsyncEngine,
) -> None:
    one = await an_organization(engine, debt_limit_minor=0)
    other = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, one)
    call = ended_call(assistant)
    assert [bill.state for bill in await charge(engine, call)] == [CallState.DEBT_LIMIT]
    await move(engine, assistant, one, other)
    assert [bill.state for bill in await charge(engine, call)] == [CallState.DEBT_LIMIT]
    assert (await waiting(engine, one), await waiting(engine, other)) == ({call.call_id}, set())
    await credit(engine, one, 56)
    [bill] = await charge(engine, call)
    assert (bill.state, bill.org_id) == (CallState.SETTLED, one)
    assert await balances(engine, one, other) == [0, 1000]


async def test_twenty_calls_that_wait_are_still_owed_after_the_assistant_is_deleted(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    ended = [ended_call(assistant) for _ in range(20)]
    await charge(engine, *ended)
    await unregister(engine, assistant, org_id)
    bills = await charge(engine, *ended)
    assert {(bill.state, bill.org_id) for bill in bills} == {(CallState.DEBT_LIMIT, org_id)}
    await credit(engine, org_id, 20 * 56)
    assert {bill.state for bill in await charge(engine, *ended)} == {CallState.SETTLED}
    assert await balance_of(engine, org_id) == 0


async def test_a_call_that_waited_before_registrations_had_times_keeps_its_owner(
    engine: AsyncEngine,
) -> None:
    """Its registration was deleted by the version before, which kept none: only its row knows."""
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    call = ended_call(assistant)
    await charge(engine, call)
    nobodys = replace(call, assistant_id=unique("assistant"))
    [bill] = await charge(engine, nobodys)
    assert (bill.state, bill.org_id) == (CallState.DEBT_LIMIT, org_id)


async def test_a_call_that_is_heard_of_late_is_of_whoever_had_its_assistant_then(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine, 1000), await an_organization(engine, 1000)
    assistant = await an_assistant(engine, one)
    before = await now(engine)
    await unregister(engine, assistant, one)
    deleted = await now(engine)
    await register(engine, assistant, other)
    after = await now(engine)
    bills = await charge(engine, *(call_at(at, assistant) for at in (before, deleted, after)))
    assert [bill.org_id for bill in bills] == [one, other, other]
    assert await balances(engine, one, other) == [1000 - 56, 1000 - 112]


async def test_who_is_not_the_first_to_register_an_assistant_gets_none_of_its_earlier_calls(
    engine: AsyncEngine,
) -> None:
    first, second = await an_organization(engine), await an_organization(engine)
    assistant = unique("assistant")
    call = ended_call(assistant)
    await charge(engine, call)
    await register(engine, assistant, first)
    await move(engine, assistant, first, second)
    assert (await waiting(engine, first), await waiting(engine, second)) == ({call.call_id}, set())
    [bill] = await charge(engine, call)
    assert bill.org_id == first


async def test_a_call_is_known_as_of_who_paid_when_it_is_reported_again(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    call = ended_call(assistant)
    await charge(engine, call)
    await move(engine, assistant, one, other)
    for again in (call, replace(call, assistant_id=await an_assistant(engine, other))):
        [bill] = await charge(engine, again)
        assert (bill.org_id, bill.posting and bill.posting.entry and bill.posting.entry.org_id) == (
            one,
            one,
        )
        assert await owner_of(engine, call) == one
    assert await balances(engine, one, other) == [-56, 0]


async def test_a_call_that_cost_nothing_is_corrected_with_whose_it_was(engine: AsyncEngine) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    call = ended_call(assistant, 0)
    await charge(engine, call)
    longer = replace(
        call,
        assistant_id=await an_assistant(engine, other),
        ended_at=call.ended_at and call.ended_at + timedelta(seconds=60),
    )
    [bill] = await charge(engine, as_api(longer))
    assert (bill.state, bill.org_id) == (CallState.SETTLED, one)
    assert await balances(engine, one, other) == [-56, 0]


async def test_an_owner_found_before_the_beginning_was_known_is_found_again(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    call = call_at(await now(engine), assistant)
    await move(engine, assistant, one, other)
    [bill] = await charge(engine, EndedCall(call.call_id, assistant))
    assert (bill.state, bill.org_id) == (CallState.UNKNOWN_DURATION, other)
    [bill] = await charge(engine, as_api(call))
    assert (bill.state, bill.org_id) == (CallState.SETTLED, one)
    assert await balances(engine, one, other) == [-56, 0]


async def test_of_a_call_without_times_it_is_first_asked_when_it_took_place(
    engine: AsyncEngine,
) -> None:
    """Its assistant may be nobody's by now, and was somebody's then."""
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    call = call_at(await now(engine), assistant)
    await unregister(engine, assistant, org_id)
    [bill] = await charge(engine, EndedCall(call.call_id, assistant))
    assert (bill.state, bill.org_id) == (CallState.UNKNOWN_DURATION, None)
    [bill] = await charge(engine, as_api(call))
    assert (bill.state, bill.org_id) == (CallState.SETTLED, org_id)


async def is_waiting(engine: AsyncEngine, pid: int | None) -> bool:
    """Whether somebody waits for a lock that this connection has."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))")
    async with engine.connect() as connection:
        return bool(await connection.scalar(query, {"pid": pid}))


@pytest.mark.parametrize("seconds", [30, 90])
async def test_a_correction_is_of_who_paid_whomever_its_own_facts_name(
    engine: AsyncEngine, seconds: float
) -> None:
    """It comes while the call is still being charged."""
    one, other = await an_organization(engine), await an_organization(engine)
    call = ended_call(await an_assistant(engine, one), 60)
    ended_at = call.started_at and call.started_at + timedelta(seconds=seconds)
    as_vapi_has_it = as_api(
        replace(call, assistant_id=await an_assistant(engine, other), ended_at=ended_at)
    )
    async with engine.begin() as charging:
        await calls.charge(charging, [call])
        pid = await charging.scalar(text("SELECT pg_backend_pid()"))
        correcting = asyncio.create_task(charge(engine, as_vapi_has_it))
        await eventually(lambda: is_waiting(engine, pid))
    [bill] = await correcting
    assert (bill.state, bill.org_id) == (CallState.SETTLED, one)
    key = f"call:{call.call_id}"
    assert await keys_of(engine, one) == [key, f"{key}:correction:1"]
    assert await balances(engine, one, other) == [-28 if seconds == 30 else -83, 0]
