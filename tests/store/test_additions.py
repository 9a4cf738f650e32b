"""A registration or a tariff and a charge that lacks it: whichever is first, the charge is made."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from billing.calls.call import CallState
from billing.ledger.money import Currency
from billing.messages.message import MessageFacts, MessageState, MessageStatus, SeenMessage
from billing.organizations import AgentKind
from billing.tariffs.sms_tariff import SmsTariff
from billing.tariffs.tariff import Tariff
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.calls import calls, owners, waiting_calls
from store.messages import messages, waiting_messages
from store.organizations import agents
from store.tariffs import call_tariffs, sms_tariffs
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    ended_call,
    unique,
    with_money,
)

# No default tariff is in effect then.
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)
SOON_SECONDS = 0.3


@dataclass(frozen=True)
class Race:
    """A charge that lacks something, who adds it, and what is then found to wait for it."""

    charge: Callable[[AsyncConnection], Awaitable[str]]
    lacks: str
    add: Callable[[AsyncConnection], Awaitable[object]]
    waiting: Callable[[AsyncConnection], Awaitable[set[str]]]
    name: str


async def lacks_an_assistant(engine: AsyncEngine) -> Race:
    org_id, assistant = await an_organization(engine, 1000), unique("assistant")
    call = ended_call(assistant)
    wallet = await with_money(engine, org_id)

    async def charge(connection: AsyncConnection) -> str:
        return (await calls.charge(connection, [call]))[0].state

    async def add(connection: AsyncConnection) -> object:
        return await agents.register(connection, assistant, AgentKind.ASSISTANT, org_id)

    async def waiting(connection: AsyncConnection) -> set[str]:
        return set(await waiting_calls.chargeable(connection, wallet, 10))

    return Race(charge, CallState.UNKNOWN_ASSISTANT, add, waiting, call.call_id)


async def lacks_its_own_registration(engine: AsyncEngine) -> Race:
    race = await lacks_an_assistant(engine)
    org_id = await an_organization(engine, 1000)
    wallet = await with_money(engine, org_id)

    async def add(connection: AsyncConnection) -> None:
        await owners.register(connection, race.name, org_id)

    async def waiting(connection: AsyncConnection) -> set[str]:
        return set(await waiting_calls.chargeable(connection, wallet, 10))

    return Race(race.charge, race.lacks, add, waiting, race.name)


async def lacks_a_tariff(engine: AsyncEngine) -> Race:
    org_id = await an_organization(engine, 1000)
    call = ended_call(await an_assistant(engine, org_id), ended_at=LONG_AGO)
    tariff = Tariff(
        unique("tariff"),
        Currency.GBP,
        Decimal(60),
        1,
        0,
        Decimal(1),
        Currency.GBP,
        LONG_AGO.replace(year=2000),
    )

    async def charge(connection: AsyncConnection) -> str:
        return (await calls.charge(connection, [call]))[0].state

    async def add(connection: AsyncConnection) -> object:
        return await call_tariffs.add(connection, tariff)

    async def waiting(connection: AsyncConnection) -> set[str]:
        found = await call_tariffs.waiting(connection, tariff, 10)
        return {workflow_id.removeprefix("call/") for _, workflow_id in found}

    return Race(charge, CallState.NO_TARIFF, add, waiting, call.call_id)


def charge_of_message(
    sid: str, sender: str, sent_at: datetime
) -> Callable[[AsyncConnection], Awaitable[str]]:
    async def charge(connection: AsyncConnection) -> str:
        sent = SeenMessage(sid, ACCOUNT_SID, MessageStatus.SENT)
        await messages.observe(connection, [sent])
        facts = MessageFacts(sent_at, 1, "447700", sender, None)
        await messages.keep_facts(connection, {sid: facts})
        bills = await messages.settle(connection, [sid], reverse_undelivered=True)
        return bills[0].state

    return charge


async def lacks_a_sender(engine: AsyncEngine) -> Race:
    org_id, sid, sender = await an_organization(engine, 1000), a_sid(), unique("sender")
    wallet = await with_money(engine, org_id)

    async def add(connection: AsyncConnection) -> object:
        return await agents.register(connection, sender, AgentKind.SMS_NUMBER, org_id)

    async def waiting(connection: AsyncConnection) -> set[str]:
        return set(await waiting_messages.chargeable(connection, wallet, 10))

    charge = charge_of_message(sid, sender, NOON)
    return Race(charge, MessageState.UNKNOWN_SENDER, add, waiting, sid)


async def lacks_a_price(engine: AsyncEngine) -> Race:
    org_id, sid = await an_organization(engine, 1000), a_sid()
    sender = await a_sender(engine, org_id)
    price = SmsTariff(
        unique("sms"),
        "",
        Currency.GBP,
        Decimal(6),
        Decimal(1),
        Currency.GBP,
        LONG_AGO.replace(year=2000),
    )

    async def add(connection: AsyncConnection) -> object:
        return await sms_tariffs.add(connection, price)

    async def waiting(connection: AsyncConnection) -> set[str]:
        found = await sms_tariffs.waiting(connection, price, 10)
        return {workflow_id.removeprefix("sms/") for _, workflow_id in found}

    charge = charge_of_message(sid, sender, LONG_AGO)
    return Race(charge, MessageState.NO_TARIFF, add, waiting, sid)


RACES = (
    lacks_an_assistant,
    lacks_its_own_registration,
    lacks_a_tariff,
    lacks_a_sender,
    lacks_a_price,
)


@pytest.mark.parametrize("prepare", RACES)
async def test_what_is_added_while_a_charge_that_lacks_it_is_recorded_finds_it_waiting(
    engine_apart: AsyncEngine, prepare: Callable[[AsyncEngine], Awaitable[Race]]
) -> None:
    race = await prepare(engine_apart)

    async def add_and_look() -> set[str]:
        async with engine_apart.begin() as connection:
            await race.add(connection)
        async with engine_apart.begin() as connection:
            return await race.waiting(connection)

    async with engine_apart.begin() as charging:
        assert await race.charge(charging) == race.lacks
        adding = asyncio.create_task(add_and_look())
        await asyncio.sleep(SOON_SECONDS)
    assert await adding == {race.name}


@pytest.mark.parametrize("prepare", RACES)
async def test_a_charge_that_lacks_what_is_being_added_waits_for_it_and_is_made(
    engine_apart: AsyncEngine, prepare: Callable[[AsyncEngine], Awaitable[Race]]
) -> None:
    race = await prepare(engine_apart)

    async def charge() -> str:
        async with engine_apart.begin() as connection:
            return await race.charge(connection)

    async with engine_apart.begin() as adding:
        await race.add(adding)
        charging = asyncio.create_task(charge())
        await asyncio.sleep(SOON_SECONDS)
    assert await charging in (CallState.SETTLED, MessageState.CHARGED)


@pytest.mark.parametrize("prepare", RACES)
async def test_charges_that_lack_something_do_not_wait_for_one_another(
    engine_apart: AsyncEngine, prepare: Callable[[AsyncEngine], Awaitable[Race]]
) -> None:
    one, other = await prepare(engine_apart), await prepare(engine_apart)
    async with engine_apart.begin() as first, engine_apart.begin() as second:
        assert await one.charge(first) == one.lacks
        assert await asyncio.wait_for(other.charge(second), timeout=5) == other.lacks
