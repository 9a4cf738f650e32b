"""Messages in sets: statuses merged once for all, and money that waits counted where it matters."""

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.messages.message import MessageFacts, MessageState, MessageStatus, SeenMessage
from billing.organizations import AgentKind, account_of, sender_id
from billing.tariffs.channel import Channel
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.calls import gate
from store.messages import message_records, messages, waiting_messages
from store.recharges import recharges
from tests.support.channels import priced_since_2020
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_organization,
    balance_of,
    credit,
    keys_of,
    move,
    now,
    register,
    unique,
    unregister,
    wallet_of,
    with_money,
)

OTHER_ACCOUNT = "AC" + "6" * 32


def seen(
    sid: str, status: str, error_code: int | None = None, account_sid: str = ACCOUNT_SID
) -> SeenMessage:
    return SeenMessage(sid, account_sid, MessageStatus(status), error_code)


async def settle(
    engine: AsyncEngine,
    sender: str,
    *heard: SeenMessage,
    reverse: bool = True,
    sent_at: datetime = NOON,
) -> set[MessageState]:
    sids = sorted({one.sid for one in heard})
    facts = MessageFacts(sent_at, 1, "447700", sender, None)
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
        found = await recharges.history(connection, wallet, datetime(2026, 11, 3, tzinfo=UTC))
    assert found.waiting_minor == 5


@pytest.mark.parametrize(
    "statement",
    ["UPDATE sms_tariffs SET fx_rate = 1", "DELETE FROM sms_tariffs", "TRUNCATE sms_tariffs"],
)
async def test_prices_are_only_ever_added(engine_apart: AsyncEngine, statement: str) -> None:
    async with engine_apart.connect() as connection:
        with pytest.raises(DBAPIError, match="append-only"):
            await connection.execute(text(statement))


async def test_a_message_that_waits_is_owed_by_the_same_though_its_sender_moves_or_goes(
    engine: AsyncEngine,
) -> None:
    one = await an_organization(engine, debt_limit_minor=0)
    other = await an_organization(engine, 1000)
    sender, sid = await a_sender(engine, one), a_sid()
    await settle(engine, sender, seen(sid, "sent"))
    await move(engine, sender, one, other, AgentKind.SMS_NUMBER)
    assert await settle(engine, sender, seen(sid, "sent")) == {MessageState.DEBT_LIMIT}
    await unregister(engine, sender, other, AgentKind.SMS_NUMBER)
    assert await settle(engine, sender, seen(sid, "sent")) == {MessageState.DEBT_LIMIT}
    assert await waiting_of(engine, one, other) == [[sid], []]
    await credit(engine, one, 5)
    assert await settle(engine, sender, seen(sid, "sent")) == {MessageState.CHARGED}
    assert await settle(engine, sender, seen(sid, "failed")) == {MessageState.REVERSED}
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (5, 1000)


async def test_a_message_is_of_whoever_had_its_sender_when_it_was_sent(engine: AsyncEngine) -> None:
    one, other = await an_organization(engine, 1000), await an_organization(engine, 1000)
    sender = await a_sender(engine, one)
    before = await now(engine)
    await unregister(engine, sender, one, AgentKind.SMS_NUMBER)
    gap = await now(engine)
    await register(engine, sender, other, AgentKind.SMS_NUMBER)
    after = await now(engine)
    for sent_at in (before, gap, after):
        await settle(engine, sender, seen(a_sid(), "sent"), sent_at=sent_at)
    assert (await balance_of(engine, one), await balance_of(engine, other)) == (995, 990)


async def test_a_message_of_nobodys_waits_for_the_first_who_registers_its_sender(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    sender, sid = a_sid(), a_sid()
    assert await settle(engine, sender, seen(sid, "sent")) == {MessageState.UNKNOWN_SENDER}
    await register(engine, sender, one, AgentKind.SMS_NUMBER)
    await move(engine, sender, one, other, AgentKind.SMS_NUMBER)
    assert await waiting_of(engine, one, other) == [[sid], []]


async def test_two_accounts_may_send_under_the_same_name(engine: AsyncEngine) -> None:
    """Alphanumeric senders are not unique; one of any account is asked for last."""
    name = unique("A&B")
    orgs = [await an_organization(engine, 1000) for _ in range(3)]
    for account, org_id in zip((ACCOUNT_SID, OTHER_ACCOUNT, None), orgs, strict=True):
        await register(engine, sender_id(name, account), org_id, AgentKind.SMS_NUMBER)
    for account in (ACCOUNT_SID, OTHER_ACCOUNT, OTHER_ACCOUNT, "AC" + "7" * 32):
        charged = await settle(engine, name, seen(a_sid(), "sent", account_sid=account))
        assert charged == {MessageState.CHARGED}
    assert [await balance_of(engine, org_id) for org_id in orgs] == [995, 990, 995]


async def test_what_waits_for_a_sender_is_of_who_registers_it_for_its_account(
    engine: AsyncEngine,
) -> None:
    name, sid = unique("Acme Bank"), a_sid()
    one, other = await an_organization(engine), await an_organization(engine)
    assert await settle(engine, name, seen(sid, "sent")) == {MessageState.UNKNOWN_SENDER}
    await register(engine, sender_id(name, OTHER_ACCOUNT), other, AgentKind.SMS_NUMBER)
    assert await waiting_of(engine, one, other) == [[], []]
    await register(engine, sender_id(name, ACCOUNT_SID), one, AgentKind.SMS_NUMBER)
    assert await waiting_of(engine, one, other) == [[sid], []]
    assert await settle(engine, name, seen(sid, "sent")) == {MessageState.CHARGED}
    assert await balance_of(engine, one) == -5


async def test_who_has_a_number_has_what_it_sends_over_any_channel_unless_another_has_that(
    engine: AsyncEngine,
) -> None:
    """The address with its channel goes first, and what is of the account before either."""
    one, other, third = [await an_organization(engine, 1000) for _ in range(3)]
    number = await a_sender(engine, one)
    for org_id in (one, other, third):
        await priced_since_2020(engine, Channel.WHATSAPP, "7", org_id)
    await send(engine, f"whatsapp:{number}")
    await register(engine, f"whatsapp:{number}", other, AgentKind.SMS_NUMBER)
    await send(engine, f"whatsapp:{number}", number)
    await register(engine, sender_id(number, ACCOUNT_SID), third, AgentKind.SMS_NUMBER)
    await send(engine, f"whatsapp:{number}")
    assert [await balance_of(engine, org_id) for org_id in (one, other, third)] == [988, 993, 993]


async def send(engine: AsyncEngine, *senders: str) -> None:
    """Charge a message from each of these, now; WhatsApp where the address says so."""
    for sender in senders:
        heard = seen(a_sid(), "sent")
        states = await settle(engine, sender, heard, sent_at=await now(engine))
        assert states == {MessageState.CHARGED}


@pytest.mark.parametrize("name", ["{}", "whatsapp:{}", f"{ACCOUNT_SID}:whatsapp:{{}}"])
async def test_whatsapp_that_waits_is_of_who_registers_its_number_or_its_address(
    engine: AsyncEngine, name: str
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    await priced_since_2020(engine, Channel.WHATSAPP, "7", one)
    number, sid = unique("+1555"), a_sid()
    states = await settle(engine, f"whatsapp:{number}", seen(sid, "sent"))
    assert states == {MessageState.UNKNOWN_SENDER}
    await register(engine, name.format(number), one, AgentKind.SMS_NUMBER)
    assert await waiting_of(engine, one, other) == [[sid], []]
    assert account_of(name.format(number), AgentKind.SMS_NUMBER) == (
        ACCOUNT_SID if name.startswith("AC") else None
    )


async def waiting_of(engine: AsyncEngine, *org_ids: str) -> list[list[str]]:
    async with engine.connect() as connection:
        wallets = [await with_money(engine, org_id) for org_id in org_ids]
        return [list(await waiting_messages.chargeable(connection, one, 10)) for one in wallets]
