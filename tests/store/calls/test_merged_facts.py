"""What is told of a call is added to what is known of it, and the call is charged by the whole."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallBill, CallState, EndedCall
from billing.calls.call_record import CallRecord
from billing.calls.fact_source import FactSource
from billing.calls.facts import merge, of_notice
from billing.ledger.entry import Outcome
from store.calls import call_records, calls, discards, waiting_calls
from tests.store.calls.test_corrections import is_waited_for
from tests.support.answers import eventually
from tests.support.factories import (
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    credit,
    ended_call,
    keys_of,
    unique,
    with_money,
)


async def charge(engine: AsyncEngine, *told: EndedCall) -> CallBill:
    """Charge by what is told, one after another; return the last bill."""
    for one in told:
        async with engine.begin() as connection:
            [bill] = await calls.charge(connection, [one])
    return bill


async def record_of(engine: AsyncEngine, call: EndedCall) -> CallRecord:
    async with engine.connect() as connection:
        return await call_records.read(connection, call.call_id)


async def waiting(engine: AsyncEngine, org_id: str) -> list[EndedCall]:
    async with engine.connect() as connection:
        return [
            one.call
            for one in (
                await waiting_calls.chargeable(connection, await with_money(engine, org_id), 10)
            ).values()
        ]


def shorter(call: EndedCall, seconds: float = 60) -> EndedCall:
    """Return what Vapi's API says of a call that a report made too long."""
    assert call.ended_at is not None
    return as_api(replace(call, started_at=call.ended_at - timedelta(seconds=seconds)))


def bare(call: EndedCall) -> EndedCall:
    """Return what a process is started with when no report has come."""
    return of_notice(call.call_id, call.assistant_id)


async def a_call(
    engine: AsyncEngine, seconds: float = 60, balance_minor: int = 0
) -> tuple[str, EndedCall]:
    org_id = await an_organization(engine, balance_minor, debt_limit_minor=0)
    return org_id, ended_call(await an_assistant(engine, org_id), seconds)


async def test_a_call_that_waits_is_charged_for_the_length_that_vapi_says_since(
    engine: AsyncEngine,
) -> None:
    org_id, call = await a_call(engine, 1800)
    await charge(engine, call, shorter(call))
    await credit(engine, org_id, 2000)
    [known] = await waiting(engine, org_id)
    assert (await charge(engine, known)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 2000 - 56


async def test_a_report_that_comes_later_does_not_make_the_call_longer_again(
    engine: AsyncEngine,
) -> None:
    org_id, call = await a_call(engine, 1800)
    await charge(engine, shorter(call), call)
    [known] = await waiting(engine, org_id)
    assert known == merge(shorter(call), call)
    assert (await record_of(engine, call)).call == known
    await credit(engine, org_id, 56)
    assert (await charge(engine, call)).state is CallState.SETTLED


async def test_who_knows_nothing_of_the_end_does_not_make_a_call_s_length_unknown(
    engine: AsyncEngine,
) -> None:
    org_id, call = await a_call(engine)
    assert (await charge(engine, call, bare(call))).state is CallState.DEBT_LIMIT
    assert await waiting(engine, org_id) == [call]


async def test_a_call_that_healed_without_a_report_remembers_the_report_that_comes_after_all(
    engine: AsyncEngine,
) -> None:
    org_id, call = await a_call(engine, balance_minor=1000)
    report = replace(call, phone_number_id="number", reported_seconds=Decimal(60))
    await charge(engine, bare(call), as_api(call))
    before = await record_of(engine, call)
    bill = await charge(engine, report)
    assert bill.posting is not None
    assert bill.posting.outcome is Outcome.DUPLICATE
    known = await record_of(engine, call)
    assert (known.state, known.charge, known.note) == (
        CallState.SETTLED,
        before.charge,
        before.note,
    )
    assert (known.call.phone_number_id, known.call.reported_seconds) == ("number", Decimal(60))
    assert known.call.source_of("phone_number_id") is FactSource.REPORT
    assert known.call.source_of("started_at") is FactSource.API
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]


@pytest.mark.parametrize(
    ("seconds", "state", "cost"), [(60, CallState.SETTLED, 56), (1200, CallState.DEBT_LIMIT, 0)]
)
async def test_a_call_that_seemed_never_to_have_connected_costs_what_its_report_says(
    engine: AsyncEngine, seconds: int, state: CallState, cost: int
) -> None:
    org_id, call = await a_call(engine, seconds, balance_minor=1000)
    await charge(engine, as_api(replace(call, started_at=None)))
    assert (await charge(engine, call)).state is state
    known = await record_of(engine, call)
    assert known.state is state
    assert known.charge is not None
    assert known.charge.billed_seconds == seconds
    assert await balance_of(engine, org_id) == 1000 - cost


async def test_a_report_never_corrects_not_even_what_version_0_1_read_from_vapi_s_api(
    engine: AsyncEngine,
) -> None:
    org_id, call = await a_call(engine, balance_minor=1000)
    await charge(engine, as_api(call))
    old = text("UPDATE calls SET facts = facts - 'sources' WHERE call_id = :call_id")
    async with engine.begin() as connection:
        await connection.execute(old, {"call_id": call.call_id})
    assert call.ended_at is not None
    await charge(engine, replace(call, ended_at=call.ended_at + timedelta(seconds=60)))
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    known = await record_of(engine, call)
    assert known.charge is not None
    assert (known.state, known.charge.billed_seconds) == (CallState.SETTLED, 60)


async def test_what_a_person_gave_up_stays_so_whatever_is_told_of_it(engine: AsyncEngine) -> None:
    _, call = await a_call(engine, 1800)
    await charge(engine, call)
    async with engine.begin() as connection:
        await discards.discard(connection, call, "Ann: agreed")
    assert (await charge(engine, shorter(call))).state is CallState.DISCARDED
    known = await record_of(engine, call)
    assert (known.state, known.note) == (CallState.DISCARDED, "Ann: agreed")
    assert known.call == merge(call, shorter(call))


async def test_nothing_is_forgotten_of_what_two_transactions_say_first_at_once(
    engine: AsyncEngine,
) -> None:
    """Of a call of nobody's there is no wallet to wait for each other at."""
    call = ended_call(unique("nobody"))
    read = replace(as_api(call), assistant_id=None, phone_number_id="number")
    async with engine.begin() as reading:
        await calls.charge(reading, [read])
        pid = await reading.scalar(text("SELECT pg_backend_pid()"))
        reporting = asyncio.create_task(charge(engine, call))
        await eventually(lambda: is_waited_for(engine, pid))
    await reporting
    assert (await record_of(engine, call)).call == merge(read, call)


async def test_a_charge_that_is_given_up_while_it_is_made_stands(engine: AsyncEngine) -> None:
    org_id, call = await a_call(engine, balance_minor=1000)
    async with engine.begin() as charging:
        await calls.charge(charging, [call])
        pid = await charging.scalar(text("SELECT pg_backend_pid()"))
        giving_up = asyncio.create_task(discard(engine, call))
        await eventually(lambda: is_waited_for(engine, pid))
    assert not await giving_up
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_a_charge_waits_for_who_gives_it_up_and_is_not_made(engine: AsyncEngine) -> None:
    org_id, call = await a_call(engine, balance_minor=1000)
    async with engine.begin() as giving_up:
        assert await discards.discard(giving_up, call, "Ann: agreed")
        pid = await giving_up.scalar(text("SELECT pg_backend_pid()"))
        charging = asyncio.create_task(charge(engine, call))
        await eventually(lambda: is_waited_for(engine, pid))
    assert (await charging).state is CallState.DISCARDED
    assert await balance_of(engine, org_id) == 1000


async def discard(engine: AsyncEngine, call: EndedCall) -> bool:
    async with engine.begin() as connection:
        return await discards.discard(connection, call, "Ann: agreed")
