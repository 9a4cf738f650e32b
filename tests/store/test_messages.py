"""Messages in sets: statuses merged once for all, and money that waits counted where it matters."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.message import MessageFacts, MessageState, MessageStatus, SeenMessage
from devstack.providers.twilio_messages import ACCOUNT_SID
from store import gate, message_records, messages, recharges
from tests.factories import (
    NOON,
    a_sender,
    a_sid,
    an_organization,
    balance_of,
    keys_of,
    wallet_of,
)


def seen(sid: str, status: str, error_code: int | None = None) -> SeenMessage:
    return SeenMessage(sid, ACCOUNT_SID, MessageStatus(status), error_code)


async def settle(
    engine: AsyncEngine, sender: str, *heard: SeenMessage, reverse: bool = True
) -> set[MessageState]:
    sids = sorted({one.sid for one in heard})
    facts = MessageFacts(NOON, 1, "447700", sender, None)
    async with engine.begin() as connection:
        await messages.observe(connection, heard)
        await messages.keep_facts(connection, dict.fromkeys(sids, facts))
        bills = await messages.settle(connection, sids, reverse_undelivered=reverse)
    return {bill.state for bill in bills}


async def test_a_late_status_does_not_overwrite_a_later_one(engine: AsyncEngine) -> None:
    sender = await a_sender(engine, await an_organization(engine, 1000))
    sid = a_sid()
    for status, code in (("sent", None), ("undelivered", 30003), ("sent", None), ("queued", None)):
        await settle(engine, sender, seen(sid, status, code))
    async with engine.connect() as connection:
        record = await message_records.read(connection, sid)
    assert (record.status, record.error_code) == (MessageStatus.UNDELIVERED, 30003)


async def test_many_at_once_of_one_message_charge_it_once(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000)
    sender, sid = await a_sender(engine, org_id), a_sid()
    statuses = ("sent", "delivered", "queued") * 5
    await asyncio.gather(*(settle(engine, sender, seen(sid, status)) for status in statuses))
    assert await keys_of(engine, org_id) == [f"sms:{sid}"]
    assert await balance_of(engine, org_id) == 995


async def test_many_messages_are_charged_up_to_the_limit_and_not_further(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 12, debt_limit_minor=0)
    sender = await a_sender(engine, org_id)
    states = await settle(engine, sender, *(seen(a_sid(), "sent") for _ in range(3)))
    assert states == {MessageState.CHARGED, MessageState.DEBT_LIMIT}
    assert await balance_of(engine, org_id) == 2


async def test_an_undelivered_message_is_paid_for_if_the_platform_wants_it_so(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 1000)
    sender, sid = await a_sender(engine, org_id), a_sid()
    heard = seen(sid, "undelivered")
    assert await settle(engine, sender, heard, reverse=False) == {MessageState.CHARGED}
    assert await settle(engine, sender, seen(sid, "failed"), reverse=False) == {
        MessageState.REVERSED
    }
    assert await balance_of(engine, org_id) == 1000


async def test_a_message_that_waits_for_money_counts_at_the_gate_and_for_a_recharge(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    async with engine.connect() as connection:
        assert not (await gate.standing_of(connection, org_id)).charges_waiting
    assert await settle(engine, await a_sender(engine, org_id), seen(a_sid(), "sent")) == {
        MessageState.DEBT_LIMIT
    }
    wallet = await wallet_of(engine, org_id)
    async with engine.connect() as connection:
        assert (await gate.standing_of(connection, org_id)).charges_waiting
        found = await recharges.standing(connection, wallet, datetime(2026, 11, 3, tzinfo=UTC))
    assert found.waiting_minor == 5


@pytest.mark.parametrize(
    "statement",
    ["UPDATE sms_tariffs SET fx_rate = 1", "DELETE FROM sms_tariffs", "TRUNCATE sms_tariffs"],
)
async def test_prices_are_only_ever_added(engine_apart: AsyncEngine, statement: str) -> None:
    async with engine_apart.connect() as connection:
        with pytest.raises(DBAPIError, match="append-only"):
            await connection.execute(text(statement))
