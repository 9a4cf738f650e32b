"""Calls and messages that wait for one wallet are charged in the order in which they ended."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.collection import collection
from activities.collection.collection import CollectionActivities
from billing.collection import CollectedBatch
from billing.ledger.entry import PostingCounts
from billing.messages.message import MessageFacts, MessageState, MessageStatus, SeenMessage
from billing.organizations import AgentKind
from billing.platform_rules import PlatformRules
from billing.tariffs.channel import Channel
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.alerts import alerts
from store.calls import calls
from store.messages import message_records, messages
from tests.support.channels import priced_since_2020
from tests.support.factories import (
    NOON,
    a_poisonous_assistant,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
    register,
    unique,
)


async def collect(engine: AsyncEngine, org_id: str) -> CollectedBatch:
    collecting = CollectionActivities(engine, PlatformRules())
    return await ActivityEnvironment().run(collecting.collect, org_id)


async def sent(engine: AsyncEngine, sender: str, minute: int, status: str = "delivered") -> str:
    """A message of one segment (5 pence) that Twilio sent then."""
    sid = a_sid()
    facts = MessageFacts(NOON + timedelta(minutes=minute), 1, "447700", sender, None)
    seen = SeenMessage(sid, ACCOUNT_SID, MessageStatus(status))
    async with engine.begin() as connection:
        await messages.observe(connection, [seen])
        await messages.keep_facts(connection, {sid: facts})
        await messages.settle(connection, [sid], reverse_undelivered=True)
    return sid


async def called(engine: AsyncEngine, assistant: str, minute: int) -> str:
    """A call of a minute (56 pence) that ended then."""
    call = ended_call(assistant, ended_at=NOON + timedelta(minutes=minute))
    async with engine.begin() as connection:
        await calls.charge(connection, [call])
    return call.call_id


async def test_calls_and_messages_are_collected_in_the_order_in_which_they_ended(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant, sender = await an_assistant(engine, org_id), await a_sender(engine, org_id)
    fifth, third = await sent(engine, sender, 5), await sent(engine, sender, 3)
    fourth, first = await called(engine, assistant, 4), await called(engine, assistant, 1)
    second = await sent(engine, sender, 2)
    await credit(engine, org_id, 1000)
    collected = await collect(engine, org_id)
    assert collected == CollectedBatch(
        (first, fourth), False, sids=(second, third, fifth), postings=PostingCounts(applied=5)
    )
    assert await keys_of(engine, org_id) == [
        f"call:{first}", f"sms:{second}", f"sms:{third}", f"call:{fourth}", f"sms:{fifth}",
    ]  # fmt: skip
    assert await balance_of(engine, org_id) == 1000 - 2 * 56 - 3 * 5
    assert await collect(engine, org_id) == CollectedBatch((), False)


async def test_a_message_goes_before_a_younger_call_that_there_is_no_money_left_for(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant, sender = await an_assistant(engine, org_id), await a_sender(engine, org_id)
    await called(engine, assistant, 2)
    old = await sent(engine, sender, 1)
    await credit(engine, org_id, 56)
    assert await collect(engine, org_id) == CollectedBatch(
        (), False, sids=(old,), postings=PostingCounts(applied=1, refused=1)
    )
    assert await balance_of(engine, org_id) == 56 - 5


async def test_a_message_that_failed_meanwhile_is_not_collected(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    sid = await sent(engine, await a_sender(engine, org_id), 1, "sent")
    async with engine.begin() as connection:
        await messages.observe(connection, [SeenMessage(sid, ACCOUNT_SID, MessageStatus.FAILED)])
    await credit(engine, org_id, 1000)
    assert (await collect(engine, org_id)).sids == (sid,)
    assert await keys_of(engine, org_id) == []
    async with engine.connect() as connection:
        record = await message_records.read(connection, sid)
    assert record.state is MessageState.NOT_CHARGED


async def test_a_registration_collects_messages_by_number_or_by_messaging_service(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 1000)
    number = unique("+1")
    sid = await sent(engine, number, 1)
    assert await collect(engine, org_id) == CollectedBatch((), False)
    await register(engine, number, org_id, AgentKind.SMS_NUMBER)
    assert (await collect(engine, org_id)).sids == (sid,)


async def test_a_status_of_another_account_changes_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await sent(engine, await a_sender(engine, org_id), 1)
    stranger = SeenMessage(sid, "AC" + "0" * 32, MessageStatus.FAILED)
    async with engine.begin() as connection:
        await messages.observe(connection, [stranger])
        [bill] = await messages.settle(connection, [sid], reverse_undelivered=True)
    assert bill.state is MessageState.CHARGED


async def test_what_fails_alone_is_told_and_holds_up_nothing_that_can_be_paid(
    engine_apart: AsyncEngine,
) -> None:
    """It is told, so that its own process tries, fails, and shows a person why."""
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    assistant = await an_assistant(engine_apart, org_id)
    sick = await register(engine_apart, unique("poison"), org_id)
    first, poison, last = [
        await called(engine_apart, one, minute)
        for minute, one in enumerate((assistant, sick, assistant))
    ]
    await a_poisonous_assistant(engine_apart)
    await credit(engine_apart, org_id, 1000)
    collected = await collect(engine_apart, org_id)
    assert collected == CollectedBatch(
        (first, last, poison), False, postings=PostingCounts(applied=2)
    )
    assert await keys_of(engine_apart, org_id) == [f"call:{first}", f"call:{last}"]
    assert await collect(engine_apart, org_id) == CollectedBatch((poison,), False)


async def test_what_an_organisation_sends_for_nothing_is_told_when_its_sender_is_registered(
    engine: AsyncEngine,
) -> None:
    """It waited for an owner, since others have a price of WhatsApp: its owner has none."""
    org_id, other = await an_organization(engine), await an_organization(engine)
    await priced_since_2020(engine, Channel.WHATSAPP, "7", other)
    number = unique("+1555")
    waiting = [await sent(engine, f"whatsapp:{number}", minute) for minute in range(2)]
    await register(engine, number, org_id, AgentKind.SMS_NUMBER)
    assert (await collect(engine, org_id)).sids == tuple(waiting)
    async with engine.connect() as connection:
        found = {(await message_records.read(connection, sid)).state for sid in waiting}
        told = [one.alert.key for one in await alerts.page(connection, None, 1000)]
    assert found == {MessageState.NOT_CHARGED}
    assert told.count(f"free-messages:{org_id}") == 1


async def test_calls_that_nobody_can_read_hold_up_none_of_those_behind_them(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither do they end the collection though more is left, nor do they take all of a batch."""
    monkeypatch.setattr(collection, "WAITING_BATCH", 2)
    org_id = await an_organization(engine, debt_limit_minor=0)
    assistant = await an_assistant(engine, org_id)
    edited, payable = [
        [await called(engine, assistant, minute) for minute in range(begin, begin + 5)]
        for begin in (1, 10)
    ]
    async with engine.begin() as connection:
        emptied = text("UPDATE calls SET facts = '{}' WHERE call_id = ANY(:edited)")
        await connection.execute(emptied, {"edited": edited})
    await credit(engine, org_id, 1000)
    batches = [await collect(engine, org_id) for _ in range(3)]
    assert [one.call_ids for one in batches] == [(*payable[:2],), (*payable[2:4],), (payable[4],)]
    assert [one.more for one in batches] == [True, True, False]
