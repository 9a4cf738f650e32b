"""A message is discarded or charged, never both, whoever decides about it at the same time."""

import asyncio

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.messages.message import MessageFacts, MessageState, MessageStatus, SeenMessage
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.ledger import audit
from store.messages import discards, message_records, messages
from tests.support.factories import NOON, a_sender, a_sid, an_organization, balance_of, credit
from tests.support.locks import until_it_waits_for_a_lock

PAID, PRICE = 1000, 5


async def charge(engine: AsyncEngine, sid: str, status: str = "sent") -> MessageState:
    async with engine.begin() as connection:
        seen = SeenMessage(sid, ACCOUNT_SID, MessageStatus(status))
        await messages.observe(connection, [seen])
        [bill] = await messages.settle(connection, [sid], reverse_undelivered=True)
    return bill.state


async def discard(engine: AsyncEngine, sid: str) -> bool:
    async with engine.begin() as connection:
        return await discards.discard(connection, sid, "Ann: a test")


async def state_of(engine: AsyncEngine, org_id: str, sid: str) -> MessageState:
    """Where it stands; and the audit finds nothing."""
    async with engine.connect() as connection:
        assert await audit.of_organizations(connection, [org_id]) == []
        return (await message_records.read(connection, sid)).state


async def a_message_over_the_limit(engine: AsyncEngine) -> tuple[str, str]:
    """A message that waited for money, which has come by now."""
    org_id, sid = await an_organization(engine, debt_limit_minor=0), a_sid()
    facts = MessageFacts(NOON, 1, "447700", await a_sender(engine, org_id), None)
    async with engine.begin() as connection:
        await messages.observe(connection, [SeenMessage(sid, ACCOUNT_SID, MessageStatus.SENT)])
        await messages.keep_facts(connection, {sid: facts})
    assert await charge(engine, sid) is MessageState.DEBT_LIMIT
    await credit(engine, org_id, PAID)
    return org_id, sid


@pytest.mark.parametrize("status", ["sent", "undelivered"])
async def test_a_message_that_was_charged_is_not_discarded(
    engine: AsyncEngine, status: str
) -> None:
    org_id, sid = await a_message_over_the_limit(engine)
    await charge(engine, sid)
    state = await charge(engine, sid, status)
    assert not await discard(engine, sid)
    assert await state_of(engine, org_id, sid) is state
    assert await charge(engine, sid, "undelivered") is MessageState.REVERSED
    assert await balance_of(engine, org_id) == PAID


async def test_who_discards_waits_for_a_charge_that_is_under_way_and_lets_it_stand(
    engine_apart: AsyncEngine,
) -> None:
    org_id, sid = await a_message_over_the_limit(engine_apart)
    async with engine_apart.begin() as connection:
        [bill] = await messages.settle(connection, [sid], reverse_undelivered=True)
        assert bill.state is MessageState.CHARGED
        discarding = asyncio.create_task(discard(engine_apart, sid))
        await until_it_waits_for_a_lock(engine_apart, discarding)
    assert not await discarding
    assert await state_of(engine_apart, org_id, sid) is MessageState.CHARGED
    assert await balance_of(engine_apart, org_id) == PAID - PRICE


async def test_a_charge_waits_for_whoever_is_discarding_the_message_and_then_does_nothing(
    engine_apart: AsyncEngine,
) -> None:
    org_id, sid = await a_message_over_the_limit(engine_apart)
    async with engine_apart.begin() as connection:
        assert await discards.discard(connection, sid, "Ann: a test")
        charging = asyncio.create_task(charge(engine_apart, sid))
        await until_it_waits_for_a_lock(engine_apart, charging)
    assert await charging is MessageState.DISCARDED
    assert await state_of(engine_apart, org_id, sid) is MessageState.DISCARDED
    assert await balance_of(engine_apart, org_id) == PAID
