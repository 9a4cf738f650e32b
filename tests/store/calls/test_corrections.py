"""Vapi's own facts correct what a report said: once, with whoever paid, down to the debt limit."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallBill, CallState, EndedCall
from billing.collection import WaitingKind
from billing.ledger.entry import Outcome
from store import collection
from store.calls import call_records, calls, waiting_calls
from store.organizations import agents
from store.recharges import recharges
from tests.support.answers import eventually
from tests.support.crowd import crowd
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    credit,
    ended_call,
    keys_of,
    register,
    wallet_of,
    with_money,
)


async def charge(engine: AsyncEngine, call: EndedCall) -> CallBill:
    async with engine.begin() as connection:
        [bill] = await calls.charge(connection, [call])
    return bill


def as_vapi_has_it(call: EndedCall, *, longer_by: float) -> EndedCall:
    assert call.ended_at is not None
    ended_at = call.ended_at + timedelta(seconds=longer_by)
    return as_api(replace(call, ended_at=ended_at))


async def is_waited_for(engine: AsyncEngine, pid: int | None) -> bool:
    """Whether somebody waits for a lock that this connection has."""
    query = text("SELECT count(*) FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))")
    async with engine.connect() as connection:
        return bool(await connection.scalar(query, {"pid": pid}))


async def test_a_call_that_was_longer_costs_the_difference(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, balance_minor=1000)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, call)
    bill = await charge(engine, as_vapi_has_it(call, longer_by=30))
    assert bill.posting is not None
    assert bill.posting.outcome is Outcome.APPLIED
    assert await balance_of(engine, org_id) == 1000 - 83
    key = f"call:{call.call_id}"
    assert await keys_of(engine, org_id) == [key, f"{key}:correction:1"]


async def test_a_call_that_was_shorter_is_given_back_and_corrected_again(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, balance_minor=1000)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, call)
    for longer_by, cost in ((-30, 28), (0, 56), (-30, 28)):
        await charge(engine, as_vapi_has_it(call, longer_by=longer_by))
        assert await balance_of(engine, org_id) == 1000 - cost
    assert len(await keys_of(engine, org_id)) == 4


async def test_fifty_corrections_at_once_are_one(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, balance_minor=1000)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, call)
    longer = as_vapi_has_it(call, longer_by=30)
    await crowd(charge(engine, longer) for _ in range(50))
    assert await balance_of(engine, org_id) == 1000 - 83
    assert len(await keys_of(engine, org_id)) == 2


async def test_a_correction_is_of_whoever_has_paid_whatever_the_row_of_the_call_says(
    engine: AsyncEngine,
) -> None:
    payer, other = [await an_organization(engine, balance_minor=1000) for _ in range(2)]
    call = ended_call(await an_assistant(engine, payer), 60)
    await charge(engine, call)
    moved = text("UPDATE calls SET org_id = :org_id WHERE call_id = :call_id")
    async with engine.begin() as connection:
        await connection.execute(moved, {"org_id": other, "call_id": call.call_id})
    await charge(engine, as_vapi_has_it(call, longer_by=30))
    assert await balance_of(engine, payer) == 1000 - 83
    assert await keys_of(engine, other) == []


async def test_a_report_that_is_charged_meanwhile_is_corrected_all_the_same(
    engine: AsyncEngine,
) -> None:
    """What was booked is read again once the wallet is locked: before, it may not be there yet."""
    org_id = await an_organization(engine, balance_minor=1000)
    call = ended_call(await an_assistant(engine, org_id), 60)
    async with engine.begin() as reporting:
        await calls.charge(reporting, [call])
        pid = await reporting.scalar(text("SELECT pg_backend_pid()"))
        correcting = asyncio.create_task(charge(engine, as_vapi_has_it(call, longer_by=30)))
        await eventually(lambda: is_waited_for(engine, pid))
    await correcting
    key = f"call:{call.call_id}"
    assert await keys_of(engine, org_id) == [key, f"{key}:correction:1"]
    assert await balance_of(engine, org_id) == 1000 - 83


async def test_a_late_report_does_not_undo_a_correction(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, balance_minor=1000)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, as_vapi_has_it(call, longer_by=30))
    bill = await charge(engine, call)
    assert bill.posting is not None
    assert bill.posting.outcome is Outcome.DUPLICATE
    assert await balance_of(engine, org_id) == 1000 - 83


async def test_a_correction_that_the_wallet_cannot_pay_waits_for_money(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, balance_minor=56, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, call)
    longer = as_vapi_has_it(call, longer_by=30)
    assert (await charge(engine, longer)).state is CallState.DEBT_LIMIT
    async with engine.connect() as connection:
        waiting = await waiting_calls.chargeable(connection, await with_money(engine, org_id), 10)
    assert list(waiting) == [call.call_id]

    await credit(engine, org_id, 27)
    assert (await charge(engine, waiting[call.call_id].call)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 0


async def test_a_correction_that_waits_counts_for_its_difference_alone(
    engine: AsyncEngine,
) -> None:
    """For the collection, the recharge and the sweep: 27 of the 83 that the call costs by now."""
    org_id = await an_organization(engine, balance_minor=56, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, call)
    await charge(engine, as_vapi_has_it(call, longer_by=30))
    for more, is_payable in ((26, False), (1, True)):
        await credit(engine, org_id, more)
        wallet = await wallet_of(engine, org_id)
        async with engine.connect() as connection:
            assert (await recharges.history(connection, wallet, NOON)).waiting_minor == 27
            assert bool(await waiting_calls.chargeable(connection, wallet, 10)) is is_payable
            before = call.call_id[:-1]
            names = await collection.names(connection, WaitingKind.CALL, before, 100)
            listed = await collection.read(connection, WaitingKind.CALL, names)
        [found] = [one for one in listed if one.name == call.call_id]
        assert (found.payable_by == org_id) is is_payable


async def test_who_paid_is_corrected_whoever_has_the_assistant_now(engine: AsyncEngine) -> None:
    payer = await an_organization(engine, balance_minor=1000)
    heir = await an_organization(engine, balance_minor=1000)
    assistant = await an_assistant(engine, payer)
    call = ended_call(assistant, 60)
    await charge(engine, call)
    async with engine.begin() as connection:
        await agents.remove(connection, assistant, payer)
    await register(engine, assistant, heir)

    await charge(engine, as_vapi_has_it(call, longer_by=30))
    assert await balance_of(engine, payer) == 1000 - 83
    assert await balance_of(engine, heir) == 1000


async def test_facts_that_do_not_add_up_leave_what_was_settled(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, balance_minor=1000)
    call = ended_call(await an_assistant(engine, org_id), 60)
    await charge(engine, call)
    await charge(engine, as_vapi_has_it(call, longer_by=-90))
    async with engine.connect() as connection:
        assert (await call_records.read(connection, call.call_id)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 1000 - 56
