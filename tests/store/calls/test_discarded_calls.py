"""A call is discarded or charged, never both, whoever decides about it at the same time."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallState, EndedCall
from billing.calls.call_record import CallRecord
from billing.ledger.audit import Flaw
from billing.ledger.entry import call_key
from store.calls import call_records, calls, discards
from store.ledger import audit, ledger
from tests.support.factories import (
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    charge_of,
    credit,
    ended_call,
    keys_of,
    register,
    unique,
)
from tests.support.locks import until_it_waits_for_a_lock
from tests.support.migrations import migrate_again

ANN = "Ann: a test call"


async def charge(engine: AsyncEngine, call: EndedCall) -> CallState:
    async with engine.begin() as connection:
        [bill] = await calls.charge(connection, [call])
    return bill.state


async def discard(engine: AsyncEngine, call: EndedCall) -> bool:
    async with engine.begin() as connection:
        return await discards.discard(connection, call, ANN)


async def read(engine: AsyncEngine, call: EndedCall) -> CallRecord:
    async with engine.connect() as connection:
        return await call_records.read(connection, call.call_id)


async def flaws(engine: AsyncEngine, org_id: str) -> list[Flaw]:
    async with engine.connect() as connection:
        return await audit.of_organizations(connection, [org_id])


async def a_call_over_the_limit(engine: AsyncEngine) -> tuple[str, EndedCall]:
    org_id = await an_organization(engine, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id))
    assert await charge(engine, call) is CallState.DEBT_LIMIT
    return org_id, call


async def test_a_charge_waits_for_whoever_is_discarding_the_call_and_then_does_nothing(
    engine_apart: AsyncEngine,
) -> None:
    org_id, call = await a_call_over_the_limit(engine_apart)
    await credit(engine_apart, org_id, 1000)
    async with engine_apart.begin() as connection:
        assert await discards.discard(connection, call, ANN)
        charging = asyncio.create_task(charge(engine_apart, call))
        await until_it_waits_for_a_lock(engine_apart, charging)
    assert await charging is CallState.DISCARDED
    assert await balance_of(engine_apart, org_id) == 1000
    assert (await read(engine_apart, call)).state is CallState.DISCARDED
    assert await flaws(engine_apart, org_id) == []


async def test_who_discards_waits_for_a_charge_that_is_under_way_and_lets_it_stand(
    engine_apart: AsyncEngine,
) -> None:
    org_id, call = await a_call_over_the_limit(engine_apart)
    await credit(engine_apart, org_id, 1000)
    async with engine_apart.begin() as connection:
        [bill] = await calls.charge(connection, [call])
        assert bill.state is CallState.SETTLED
        discarding = asyncio.create_task(discard(engine_apart, call))
        await until_it_waits_for_a_lock(engine_apart, discarding)
    assert not await discarding
    assert (await read(engine_apart, call)).state is CallState.SETTLED
    assert await flaws(engine_apart, org_id) == []


async def test_who_discards_waits_for_a_charge_of_version_0_1_which_locks_the_wallet_alone(
    engine_apart: AsyncEngine,
) -> None:
    org_id, call = await a_call_over_the_limit(engine_apart)
    await credit(engine_apart, org_id, 1000)
    async with engine_apart.begin() as connection:
        await ledger.post(connection, [charge_of(org_id, 1, call_key(call.call_id))])
        discarding = asyncio.create_task(discard(engine_apart, call))
        await until_it_waits_for_a_lock(engine_apart, discarding)
    assert not await discarding
    assert (await read(engine_apart, call)).state is CallState.SETTLED
    assert await flaws(engine_apart, org_id) == []


async def test_a_call_of_nobody_s_that_is_registered_while_it_is_discarded_is_not_charged(
    engine_apart: AsyncEngine,
) -> None:
    """There is no wallet to lock, but the call is."""
    org_id = await an_organization(engine_apart)
    call = ended_call(unique("assistant"))
    async with engine_apart.begin() as connection:
        assert await discards.discard(connection, call, ANN)
        await register(engine_apart, str(call.assistant_id), org_id)
        charging = asyncio.create_task(charge(engine_apart, call))
        await until_it_waits_for_a_lock(engine_apart, charging)
    assert await charging is CallState.DISCARDED
    assert await keys_of(engine_apart, org_id) == []
    assert await flaws(engine_apart, org_id) == []


async def a_refused_correction(engine: AsyncEngine) -> tuple[str, EndedCall]:
    """A minute was charged (56), and Vapi says it was ten, for which there is no money."""
    org_id = await an_organization(engine, debt_limit_minor=100)
    call = ended_call(await an_assistant(engine, org_id))
    assert await charge(engine, call) is CallState.SETTLED
    longer = as_api(ended_call(call.assistant_id, 600, call_id=call.call_id))
    assert await charge(engine, longer) is CallState.DEBT_LIMIT
    return org_id, longer


async def test_whoever_discards_a_correction_lets_the_charge_stand_as_it_was(
    engine_apart: AsyncEngine,
) -> None:
    org_id, longer = await a_refused_correction(engine_apart)
    assert not await discard(engine_apart, longer)
    record = await read(engine_apart, longer)
    assert record.state is CallState.SETTLED
    assert record.charge is not None
    assert record.charge.amount.amount_minor == 56
    assert ANN in record.note
    assert await flaws(engine_apart, org_id) == []


@pytest.mark.parametrize("again", [charge, discard])
async def test_a_correction_that_was_discarded_is_not_made_later(
    engine_apart: AsyncEngine, again: Callable[[AsyncEngine, EndedCall], Awaitable[object]]
) -> None:
    org_id, longer = await a_refused_correction(engine_apart)
    await discard(engine_apart, longer)
    await credit(engine_apart, org_id, 10_000)
    await again(engine_apart, longer)
    assert await balance_of(engine_apart, org_id) == 10_000 - 56
    assert (await read(engine_apart, longer)).state is CallState.SETTLED
    assert await flaws(engine_apart, org_id) == []


async def test_what_version_0_1_called_discarded_and_is_paid_is_settled(
    engine_apart: AsyncEngine,
) -> None:
    """Of two refused corrections, one was given up before the migration, and one still waits."""
    org_id, given_up = await a_refused_correction(engine_apart)
    _, waits = await a_refused_correction(engine_apart)
    async with engine_apart.begin() as connection:
        for change in (
            "ALTER TABLE calls DROP COLUMN waiting_minor, DROP COLUMN correction_given_up",
            "UPDATE calls SET amount_minor = 553, rated_minor = 700, billed_seconds = 600",
        ):
            await connection.execute(text(change))
        discarded = "UPDATE calls SET state = 'discarded', note = :ann WHERE call_id = :call_id"
        await connection.execute(text(discarded), {"ann": ANN, "call_id": given_up.call_id})
    await migrate_again(engine_apart, "0018")
    record = await read(engine_apart, given_up)
    assert (record.state, record.note) == (CallState.SETTLED, ANN)
    assert record.charge is not None
    assert record.charge.amount.amount_minor == 56
    assert await flaws(engine_apart, org_id) == []
    async with engine_apart.connect() as connection:
        query = text("SELECT waiting_minor FROM calls WHERE call_id = :call_id")
        assert await connection.scalar(query, {"call_id": waits.call_id}) == 553 - 56
