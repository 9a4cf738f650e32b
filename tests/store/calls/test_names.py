"""What a call may be named by: itself, its squad or workflow, its assistant, or its number."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import CallState, EndedCall
from billing.errors import Conflict
from billing.organizations import ANSWERERS, AgentKind
from store.calls import call_records, calls, owners, waiting_calls
from tests.support.factories import (
    an_organization,
    as_api,
    balance_of,
    credit,
    ended_call,
    move,
    register,
    unique,
    with_money,
)


async def charge(engine: AsyncEngine, call: EndedCall) -> str | None:
    """Charge a call, and say whose it is."""
    async with engine.begin() as connection:
        [bill] = await calls.charge(connection, [call])
    return bill.org_id


async def give(engine: AsyncEngine, call: EndedCall, org_id: str) -> None:
    async with engine.begin() as connection:
        await owners.register(connection, call.call_id, org_id)


async def waiting(engine: AsyncEngine, org_id: str) -> list[str]:
    async with engine.connect() as connection:
        return list(
            await waiting_calls.chargeable(connection, await with_money(engine, org_id), 10)
        )


def by(name: str, agent_id: str) -> EndedCall:
    names: dict[str, Any] = {name: agent_id}
    return replace(ended_call(), **names)


@pytest.mark.parametrize("kind", ANSWERERS)
async def test_a_call_is_of_whoever_had_what_it_was_started_with(
    engine: AsyncEngine, kind: AgentKind
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    agent_id, call = unique(kind), by(f"{kind}_id", unique(kind))
    nobodys = by(f"{kind}_id", agent_id)
    assert await charge(engine, nobodys) is None
    await register(engine, agent_id, one, kind)
    await move(engine, agent_id, one, other, kind)
    assert await waiting(engine, one) == [nobodys.call_id]
    assert await waiting(engine, other) == []
    assert await charge(engine, nobodys) == one
    assert await charge(engine, call) is None


async def test_a_squad_goes_before_its_member_and_what_was_started_before_the_number(
    engine: AsyncEngine,
) -> None:
    orgs = {kind: await an_organization(engine) for kind in ANSWERERS}
    ids = {kind: await register(engine, unique(kind), orgs[kind], kind) for kind in ANSWERERS}
    for position, kind in enumerate(ANSWERERS):
        names: dict[str, Any] = {f"{one}_id": ids[one] for one in ANSWERERS[position:]}
        assert await charge(engine, replace(ended_call(), **names)) == orgs[kind]


async def test_a_call_that_was_given_to_an_organization_is_its_own_whatever_it_came_over(
    engine: AsyncEngine,
) -> None:
    """It may have begun before it was given."""
    one, other = await an_organization(engine), await an_organization(engine)
    call = by("phone_number_id", unique("number"))
    assert call.phone_number_id is not None
    await register(engine, call.phone_number_id, other, AgentKind.PHONE_NUMBER)
    await give(engine, call, one)
    await give(engine, call, one)
    assert await charge(engine, call) == one
    assert await balance_of(engine, one) == -56


async def test_a_call_of_nobodys_is_found_by_whom_it_is_given_to(engine: AsyncEngine) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    call = ended_call()
    assert await charge(engine, call) is None
    await give(engine, call, one)
    assert (await waiting(engine, one), await waiting(engine, other)) == ([call.call_id], [])
    assert await charge(engine, call) == one


async def test_a_call_is_given_to_one_organization_only(engine: AsyncEngine) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    call = ended_call()
    await give(engine, call, one)
    with pytest.raises(Conflict):
        await give(engine, call, other)
    assert await charge(engine, call) == one


async def test_a_call_that_has_an_owner_is_not_given_away(engine: AsyncEngine) -> None:
    one = await an_organization(engine, debt_limit_minor=0)
    other = await an_organization(engine, 1000)
    call = by("squad_id", unique("squad"))
    assert call.squad_id is not None
    await register(engine, call.squad_id, one, AgentKind.SQUAD)
    await charge(engine, call)
    with pytest.raises(Conflict):
        await give(engine, call, other)
    await credit(engine, one, 56)
    assert await charge(engine, call) == one
    assert await balance_of(engine, other) == 1000


async def test_what_vapi_s_api_names_is_added_to_what_the_report_named(engine: AsyncEngine) -> None:
    org_id, squad = await an_organization(engine), unique("squad")
    await register(engine, squad, org_id, AgentKind.SQUAD)
    call = ended_call(unique("member"))
    assert await charge(engine, call) is None
    assert await charge(engine, as_api(replace(call, assistant_id=None, squad_id=squad))) == org_id
    async with engine.connect() as connection:
        record = await call_records.read(connection, call.call_id)
    assert (record.state, record.call.squad_id) == (CallState.SETTLED, squad)
    assert record.call.assistant_id == call.assistant_id
