"""Calls in PostgreSQL: charged in sets, each once, and what waits is found again."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallBill, CallState, EndedCall
from billing.calls.call_record import CallRecord
from billing.errors import NotFound
from billing.ledger.entry import Outcome
from billing.ledger.money import Currency, Money
from billing.organizations import AgentKind
from store.calls import call_records, calls, discards, waiting_calls
from store.calls.waiting_calls import WaitingCall
from tests.support.crowd import crowd
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
    register,
    unique,
    with_money,
)

EXAMPLES = {
    1: 2, 15: 15, 30: 28, 59: 55, 60: 56, 61: 57, 90: 83, 91: 85, 120: 111, 180: 166, 210: 194,
    300: 277, 600: 553, 1800: 1659, 3600: 3318,
}  # fmt: skip


async def charge(engine: AsyncEngine, *ended: EndedCall) -> list[CallBill]:
    async with engine.begin() as connection:
        return await calls.charge(connection, ended)


async def read(engine: AsyncEngine, call_id: str) -> CallRecord:
    async with engine.connect() as connection:
        return await call_records.read(connection, call_id)


async def waiting(engine: AsyncEngine, org_id: str, limit: int = 100) -> dict[str, WaitingCall]:
    async with engine.connect() as connection:
        return await waiting_calls.chargeable(connection, await with_money(engine, org_id), limit)


async def discard(engine: AsyncEngine, call: EndedCall, note: str = "Ann: a test call") -> bool:
    async with engine.begin() as connection:
        return await discards.discard(connection, call, note)


async def test_a_set_of_calls_costs_what_the_examples_say(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 10_000)
    assistant = await an_assistant(engine, org_id)
    bills = await charge(engine, *(ended_call(assistant, seconds) for seconds in EXAMPLES))
    assert [one.charge and one.charge.amount for one in bills] == [
        Money(pence, Currency.GBP) for pence in EXAMPLES.values()
    ]
    assert await balance_of(engine, org_id) == 10_000 - sum(EXAMPLES.values())


async def test_a_dollar_wallet_is_charged_the_rate_unconverted(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000, currency=Currency.USD)
    [bill] = await charge(engine, ended_call(await an_assistant(engine, org_id), 61))
    assert bill.charge is not None
    assert bill.charge.amount == bill.charge.rated == Money(72, Currency.USD)
    assert await balance_of(engine, org_id) == 928


async def test_the_same_call_fifty_times_at_once_is_charged_once(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000)
    call = ended_call(await an_assistant(engine, org_id))
    answers = await crowd(charge(engine, call) for _ in range(50))
    outcomes = [bill.posting and bill.posting.outcome for [bill] in answers]
    assert (outcomes.count(Outcome.APPLIED), outcomes.count(Outcome.DUPLICATE)) == (1, 49)
    assert {bill.state for [bill] in answers} == {CallState.SETTLED}
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}"]
    assert await balance_of(engine, org_id) == 1000 - 56


async def test_sets_that_share_calls_and_wallets_in_any_order_do_not_deadlock(
    engine: AsyncEngine,
) -> None:
    org_ids = [await an_organization(engine) for _ in range(4)]
    ended = [ended_call(await an_assistant(engine, org_id)) for org_id in org_ids]
    rotated = [[*ended[first:], *ended[:first]] for first in range(4)] * 8
    await asyncio.gather(*(charge(engine, *some) for some in rotated))
    assert {await balance_of(engine, org_id) for org_id in org_ids} == {-56}


async def test_a_call_is_remembered_with_what_it_cost_and_why(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 61)
    [bill] = await charge(engine, call)
    record = await read(engine, call.call_id)
    assert (record.call, record.state, record.org_id) == (call, CallState.SETTLED, org_id)
    assert record.charge == bill.charge
    assert record.note == "61 s = 0.72 USD, charged as 0.57 GBP (default-gbp-2020)"
    assert record.workflow_id == f"call/{call.call_id}"


async def test_only_what_the_wallet_can_pay_of_a_set_is_charged(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    ended = [ended_call(assistant, seconds) for seconds in (300, 300, 180, 60)]
    bills = await charge(engine, *ended)
    states = [bill.state for bill in bills]
    assert states == [
        CallState.SETTLED,
        CallState.DEBT_LIMIT,
        CallState.SETTLED,
        CallState.SETTLED,
    ]
    assert await balance_of(engine, org_id) == -(277 + 166 + 56)
    assert list(await waiting(engine, org_id)) == [ended[1].call_id]
    assert (await read(engine, ended[1].call_id)).state is CallState.DEBT_LIMIT


async def test_a_refused_call_is_charged_when_there_is_money(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 600)
    assert [bill.state for bill in await charge(engine, call)] == [CallState.DEBT_LIMIT]
    await credit(engine, org_id, 53)
    assert [bill.state for bill in await charge(engine, call)] == [CallState.SETTLED]
    assert await balance_of(engine, org_id) == -500
    assert await waiting(engine, org_id) == {}


async def test_a_call_that_took_no_time_is_settled_without_an_entry(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 0)
    [bill] = await charge(engine, call)
    assert (bill.state, bill.posting) == (CallState.SETTLED, None)
    assert await keys_of(engine, org_id) == []
    assert (await read(engine, call.call_id)).state is CallState.SETTLED


async def test_a_call_without_a_duration_or_a_tariff_waits_uncharged(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    endless = replace(ended_call(assistant), ended_at=None)
    ancient = ended_call(assistant, ended_at=datetime(2019, 12, 31, tzinfo=UTC))
    bills = await charge(engine, endless, ancient)
    assert [bill.state for bill in bills] == [CallState.UNKNOWN_DURATION, CallState.NO_TARIFF]
    assert {bill.org_id for bill in bills} == {org_id}
    assert await balance_of(engine, org_id) == 0


async def test_a_call_belongs_to_its_assistant_before_its_phone_number(
    engine: AsyncEngine,
) -> None:
    by_assistant, by_number = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, by_assistant)
    number = await register(engine, unique("number"), by_number, AgentKind.PHONE_NUMBER)
    bills = await charge(
        engine,
        ended_call(assistant, phone_number_id=number),
        ended_call(unique("unregistered"), phone_number_id=number),
    )
    assert [bill.org_id for bill in bills] == [by_assistant, by_number]


async def test_a_call_of_nobodys_waits_and_is_found_once_its_assistant_is_registered(
    engine: AsyncEngine,
) -> None:
    org_id, assistant = await an_organization(engine), unique("assistant")
    call = ended_call(assistant)
    [bill] = await charge(engine, call)
    assert (bill.state, bill.org_id) == (CallState.UNKNOWN_ASSISTANT, None)
    assert await waiting(engine, org_id) == {}
    await register(engine, assistant, org_id)
    assert await waiting(engine, org_id) == {
        call.call_id: WaitingCall(call, CallState.UNKNOWN_ASSISTANT)
    }
    assert [bill.state for bill in await charge(engine, call)] == [CallState.SETTLED]
    assert await waiting(engine, org_id) == {}


async def test_a_call_of_nobodys_is_also_found_by_its_phone_number(engine: AsyncEngine) -> None:
    org_id, number = await an_organization(engine), unique("number")
    call = ended_call(None, phone_number_id=number)
    await charge(engine, call)
    await register(engine, number, org_id, AgentKind.PHONE_NUMBER)
    assert list(await waiting(engine, org_id)) == [call.call_id]


async def test_calls_wait_in_the_order_in_which_they_ended(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    hours = (3, 1, 2, 0)
    ended = [ended_call(assistant, ended_at=NOON + timedelta(hours=hour)) for hour in hours]
    await charge(engine, *ended)
    oldest_first = [ended[hours.index(hour)].call_id for hour in range(4)]
    assert list(await waiting(engine, org_id)) == oldest_first
    assert list(await waiting(engine, org_id, limit=2)) == oldest_first[:2]


async def test_a_discarded_call_is_never_charged_and_waits_for_nothing(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 600)
    await charge(engine, call)
    assert await discard(engine, call, "Ann: agreed with the customer")
    await credit(engine, org_id, 1000)
    [bill] = await charge(engine, call)
    assert (bill.state, bill.posting) == (CallState.DISCARDED, None)
    assert await waiting(engine, org_id) == {}
    assert await balance_of(engine, org_id) == 1000
    assert (await read(engine, call.call_id)).note == "Ann: agreed with the customer"


async def test_a_call_that_was_discarded_before_it_was_ever_charged_stays_free(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    assert await discard(engine, call)
    assert [bill.state for bill in await charge(engine, call)] == [CallState.DISCARDED]
    assert await balance_of(engine, org_id) == 0


async def test_a_settled_call_cannot_be_discarded(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    await charge(engine, call)
    assert not await discard(engine, call)
    assert (await read(engine, call.call_id)).state is CallState.SETTLED
    assert await balance_of(engine, org_id) == -56


async def test_a_later_report_with_less_in_it_does_not_unsettle_a_call(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    await charge(engine, call)
    await charge(engine, replace(call, ended_at=None))
    record = await read(engine, call.call_id)
    assert (record.state, record.call) == (CallState.SETTLED, call)


async def test_an_organisations_calls_are_listed_newest_first_and_by_state(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    ended = [ended_call(assistant, seconds) for seconds in (60, 600, 30)]
    for call in ended:
        await charge(engine, call)
    async with engine.connect() as connection:
        first = await call_records.page(connection, org_id, None, 2)
        rest = await call_records.page(connection, org_id, first[-1].position, 2)
        parked = await call_records.page(connection, org_id, None, 10, CallState.DEBT_LIMIT)
    assert [one.call for one in (*first, *rest)] == ended[::-1]
    assert [one.call for one in parked] == [ended[1]]


async def test_a_call_that_was_never_received_is_not_found(engine: AsyncEngine) -> None:
    with pytest.raises(NotFound):
        await read(engine, unique("call"))
