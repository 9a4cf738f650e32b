"""What ends so that it is free is free from when the rule was there, and its reason is kept."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallBill, CallState, EndedCall
from billing.calls.ended_reason import FreeEnding
from store.calls import call_records, calls, free_call_rules
from tests.conftest import NewDatabase
from tests.support.factories import (
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    keys_of,
    now,
    unique,
)
from tests.support.migrations import to_revision

FAULT = "call.in-progress.error-vapifault-worker-died"


async def charge(engine: AsyncEngine, *ended: EndedCall) -> Sequence[CallBill]:
    async with engine.begin() as connection:
        return await calls.charge(connection, ended)


async def put_faults(engine: AsyncEngine, *, free: bool) -> None:
    async with engine.begin() as connection:
        await free_call_rules.put(connection, FreeEnding.PROVIDER_FAULT, in_force=free)


async def a_call_now(
    engine: AsyncEngine, assistant: str | None, reason: str, seconds: float = 60
) -> EndedCall:
    ends = await now(engine) + timedelta(seconds=seconds)
    return replace(ended_call(assistant, seconds, ended_at=ends), ended_reason=reason)


async def test_what_never_connected_is_settled_without_an_entry(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    rang = await a_call_now(engine, assistant, "customer-busy", 4)
    bills = await charge(engine, rang, replace(rang, call_id=unique("call"), started_at=None))
    assert [one.state for one in bills] == [CallState.SETTLED] * 2
    assert await keys_of(engine, org_id) == []
    assert await balance_of(engine, org_id) == 1000


async def test_what_began_before_the_rule_is_charged_as_before(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000)
    call = replace(ended_call(await an_assistant(engine, org_id), 4), ended_reason="customer-busy")
    [bill] = await charge(engine, call)
    assert bill.state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 1000 - 4


async def test_what_never_connected_and_took_long_waits_and_says_why(engine: AsyncEngine) -> None:
    assistant = await an_assistant(engine, await an_organization(engine, 1000))
    [bill] = await charge(engine, await a_call_now(engine, assistant, "customer-busy", 6))
    assert bill.state is CallState.UNKNOWN_DURATION
    assert "to have taken 6 s, and never to have connected (customer-busy)" in bill.unknown


async def test_what_costs_nothing_and_is_nobody_s_waits_for_nobody(engine: AsyncEngine) -> None:
    call = await a_call_now(engine, None, "assistant-request-returned-error", 0)
    [bill] = await charge(engine, call)
    assert (bill.state, bill.org_id, bill.charge) == (CallState.SETTLED, None, None)
    [again] = await charge(engine, call)
    assert again == bill


async def test_what_was_settled_for_nothing_is_charged_once_it_turns_out_to_have_connected(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 1000)
    rang = await a_call_now(engine, await an_assistant(engine, org_id), "customer-busy", 60)
    await charge(engine, replace(rang, started_at=None))
    better = replace(rang, ended_reason="customer-ended-call", provider_ended=True)
    [bill] = await charge(engine, better)
    assert bill.state is CallState.SETTLED
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_faults_of_vapi_are_free_from_when_they_are_made_so_until_they_are_not(
    engine_apart: AsyncEngine,
) -> None:
    engine = engine_apart
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    before = await a_call_now(engine, assistant, FAULT)
    began = {}
    for free in (True, True, False, False, True):
        await put_faults(engine, free=free)
        began[free] = await a_call_now(engine, assistant, FAULT)
        if not free:
            ended = began[True]
            unfree = await a_call_now(engine, assistant, FAULT)
    [*bills] = await charge(
        engine, before, ended, unfree, await a_call_now(engine, assistant, FAULT)
    )
    costs = [bill.charge.amount.amount_minor if bill.charge else None for bill in bills]
    assert costs == [56, 0, 56, 0]
    async with engine.connect() as connection:
        rules = await free_call_rules.read(connection)
    of_faults = [rule for rule in rules if rule.ending is FreeEnding.PROVIDER_FAULT]
    assert sorted(rule.until is None for rule in of_faults) == [False, True]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE free_call_rules SET since = '2020-01-01'",
        "DELETE FROM free_call_rules",
        "TRUNCATE free_call_rules",
        "INSERT INTO free_call_rules (ending) VALUES ('never_connected')",
    ],
)
async def test_since_when_a_rule_holds_cannot_be_changed(
    engine: AsyncEngine, statement: str
) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError):
            await connection.execute(text(statement))


async def test_the_migration_installs_the_rule_for_what_begins_afterwards(
    new_database: NewDatabase,
) -> None:
    engine = await new_database()
    async with engine.begin() as connection:
        await connection.run_sync(to_revision, "0027")
    before = await now(engine)
    async with engine.begin() as connection:
        await connection.run_sync(to_revision, "0028")
    async with engine.connect() as connection:
        [rule] = await free_call_rules.read(connection)
    assert (rule.ending, rule.until) == (FreeEnding.NEVER_CONNECTED, None)
    assert before < rule.since < await now(engine)
    await engine.dispose()


async def test_why_a_call_ended_and_what_it_cost_the_platform_stand_on_it(
    engine: AsyncEngine,
) -> None:
    assistant = await an_assistant(engine, await an_organization(engine, 1000))
    call = await a_call_now(engine, assistant, "silence-timed-out")
    columns = text("SELECT ended_reason, provider_cost_usd FROM calls WHERE call_id = :call_id")
    for told, cost in (
        (call, None),
        (replace(call, provider_cost_usd=Decimal("0.1075")), "0.1075"),
    ):
        await charge(engine, told)
        async with engine.connect() as connection:
            row = (await connection.execute(columns, {"call_id": call.call_id})).one()
            record = await call_records.read(connection, call.call_id)
        assert tuple(row) == ("silence-timed-out", cost and Decimal(cost))
        assert record.call.provider_cost_usd == (cost and Decimal(cost))
