"""The prices of version 0.1 are those of SMS and of MMS, and so are those that it adds yet."""

from datetime import UTC, datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.messages.message import MessageFacts, MessageState, MessageStatus, SeenMessage
from billing.organizations import AgentKind
from billing.tariffs import examples
from billing.tariffs.channel import Channel
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.database import migrate
from store.messages import message_records, messages
from store.schema import messages as message_table
from store.tariffs import sms_tariffs
from tests.conftest import NewDatabase
from tests.support.channels import price_of
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_organization,
    balance_of,
    credit,
    register,
)
from tests.support.migrations import migrate_to
from tests.support.old_version import LAST_MIGRATION

# As version 0.1 writes a price, naming each column that it knows.
ADD = text("""
    INSERT INTO sms_tariffs (sms_tariff_id, org_id, prefix, currency, price_minor_per_segment,
        fx_rate, wallet_currency, effective_from)
    VALUES (:name, NULL, :prefix, 'gbp', 3, 1, 'gbp', :since)""")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


async def adds(engine: AsyncEngine, name: str, prefix: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(ADD, {"name": name, "prefix": prefix, "since": NEW_YEAR})


async def test_each_price_of_version_0_1_is_one_of_mms_too_before_the_migration_and_after_it(
    new_database: NewDatabase,
) -> None:
    engine = await new_database()
    await migrate_to(engine, LAST_MIGRATION)
    await adds(engine, "ours", "4477")
    await adds(engine, "ours-mms", "4478")  # an id that the copy of the first would have
    await migrate.upgrade(engine)
    await adds(engine, "late", "4479")
    async with engine.connect() as connection:
        found = await sms_tariffs.of_all(connection)
    by_channel = {
        channel: {
            (one.org_id, one.prefix, one.wallet_currency, one.effective_from):
                (one.price_minor_per_segment, one.currency, one.fx_rate)
            for one in found if one.channel is channel
        }
        for channel in Channel
    }  # fmt: skip
    assert by_channel[Channel.SMS] == by_channel[Channel.MMS]
    assert len(by_channel[Channel.MMS]) == 15
    assert len(found) == 30
    assert {"ours", "ours-mms", "late", "late-mms"} <= {one.sms_tariff_id for one in found}
    assert set(examples.MESSAGES) <= set(found)


async def test_what_version_0_1_wrote_down_is_charged_as_an_sms_or_an_mms(
    engine_apart: AsyncEngine,
) -> None:
    """It knew no channels: rows of it, and of a worker of it beside, have none."""
    engine = engine_apart
    org_id = await an_organization(engine, 1000)
    sender, sids = await a_sender(engine, org_id), [a_sid(), f"MM{a_sid()[2:]}"]
    facts = MessageFacts(NOON, 1, "447700", sender, None)
    async with engine.begin() as connection:
        seen = [SeenMessage(sid, ACCOUNT_SID, MessageStatus.SENT) for sid in sids]
        await messages.observe(connection, seen)
        await messages.keep_facts(connection, dict.fromkeys(sids, facts))
        assert set(await connection.scalars(select(message_table.c.channel))) == {None}
        bills = await messages.settle(connection, sids, reverse_undelivered=True)
        records = [await message_records.read(connection, sid) for sid in sids]
    assert [one.state for one in bills] == [MessageState.CHARGED] * 2
    assert [one.charge and one.charge.sms_tariff_id for one in bills] == [
        "default-gbp-44-2020", "default-gbp-44-2020-mms",
    ]  # fmt: skip
    assert [one.channel for one in records] == [Channel.SMS, Channel.MMS]
    assert await balance_of(engine, org_id) == 1000 - 5 - 5


async def test_before_and_after_the_first_price_is_by_when_a_message_was_sent(
    engine_apart: AsyncEngine,
) -> None:
    """Whenever it is heard of, and whatever is added in the meantime."""
    engine = engine_apart
    org_id = await an_organization(engine)
    await credit(engine, org_id, 1000)
    sender = "whatsapp:+15550001111"
    await register(engine, sender, org_id, AgentKind.SMS_NUMBER)
    async with engine.begin() as connection:
        begun = await sms_tariffs.begun(connection)
        first = begun["default-gbp-whatsapp"]
        states = []
        for sent_at in (first.replace(year=2024), first, first.replace(year=2099)):
            sid = a_sid()
            seen = SeenMessage(sid, ACCOUNT_SID, MessageStatus.SENT, channel=Channel.WHATSAPP)
            await messages.observe(connection, [seen])
            facts = MessageFacts(sent_at, 1, "447700", sender, None)
            await messages.keep_facts(connection, {sid: facts})
            for _ in range(2):
                [bill] = await messages.settle(connection, [sid], reverse_undelivered=True)
            states.append((bill.state, bill.free is not None))
        own = price_of(Channel.WHATSAPP, "9", org_id, effective_from=first.replace(year=2098))
        assert await sms_tariffs.add(connection, own)
        assert not await sms_tariffs.add(connection, own)
    assert states == [
        (MessageState.NOT_CHARGED, True),
        (MessageState.CHARGED, False),
        (MessageState.CHARGED, False),
    ]
    assert await balance_of(engine, org_id) == 1000 - 2 * 4
