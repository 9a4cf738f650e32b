"""Messages over Twilio's channels, as Twilio shows them: each is priced by its own."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.messages.message import MessageRecord, MessageState
from billing.tariffs.channel import Channel
from store.alerts import alerts
from tests.support.channels import priced_since_2020
from tests.support.factories import (
    NOON,
    a_sender,
    an_organization,
    balance_of,
    entries_of,
    keys_of,
    unique,
)
from tests.support.messages import (
    a_message,
    callback_of,
    drain_messages_of,
    record_of,
    report_statuses,
    seen_message,
)
from tests.support.parked_workflows import discard, ended, page, until_parked
from tests.support.stand_ins import TwilioStandIn

TO = "+447700900123"
# Before the example prices of WhatsApp and RCS, which began with the database of the tests.
LONG_AGO: dict[str, Any] = {"status": "delivered", "created_at": NOON.isoformat()}


async def alerts_about(engine: AsyncEngine, org_id: str) -> list[str]:
    async with engine.connect() as connection:
        found = await alerts.pending(connection, 100_000)
        found += [one.alert for one in await alerts.page(connection, None, 100_000)]
    return sorted({one.key for one in found if one.org_id == org_id})


@pytest.mark.parametrize(
    ("way", "charged"),
    [
        (("{}", TO, 0), (Channel.SMS, 5)),
        (("{}", TO, 1), (Channel.MMS, 9)),
        (("whatsapp:{}", f"whatsapp:{TO}", 0), (Channel.WHATSAPP, 7)),
        (("whatsapp:{}", f"whatsapp:{TO}", 1), (Channel.WHATSAPP, 7)),
        (("rcs:acme_agent", TO, 0), (Channel.RCS, 8)),
    ],
)
async def test_a_message_is_charged_by_its_channel(
    worker: Client,
    engine: AsyncEngine,
    twilio: TwilioStandIn,
    way: tuple[str, str, int],
    charged: tuple[Channel, int],
) -> None:
    (sender, to, media), (channel, pence) = way, charged
    org_id = await an_organization(engine, 1000)
    for one, price in ((Channel.MMS, "9"), (Channel.WHATSAPP, "7"), (Channel.RCS, "8")):
        await priced_since_2020(engine, one, price, org_id)
    number, service = await a_sender(engine, org_id), await a_sender(engine, org_id)
    sid = await a_message(
        twilio,
        sender.format(number),
        "delivered",
        to=to,
        media=media,
        messaging_service_sid=service,
    )
    assert sid.startswith("MM" if media else "SM")
    bill = await ended(await report_statuses(worker, sid, "sent", "delivered"))
    assert bill.state is MessageState.CHARGED
    [entry] = await entries_of(engine, org_id)
    assert (entry.key, entry.amount.amount_minor) == (f"sms:{sid}", pence)
    assert f" by {channel} to " in entry.note
    assert (await record_of(engine, sid)).channel is channel


async def test_what_twilio_says_of_a_message_decides_before_what_a_callback_said(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    """It was tried over RCS, and went as an SMS, for the handset has none."""
    org_id = await an_organization(engine, 1000)
    await priced_since_2020(engine, Channel.RCS, "50", org_id)
    sid = await a_message(twilio, await a_sender(engine, org_id), "delivered", segments=2)
    tried = replace(seen_message(sid, "queued"), channel=Channel.RCS)
    await drain_messages_of(worker, engine, callback_of(tried))
    assert (await record_of(engine, sid)).channel is Channel.RCS
    late = replace(seen_message(sid, "delivered"), channel=Channel.RCS)
    await drain_messages_of(worker, engine, callback_of(late))
    assert (await record_of(engine, sid)).channel is Channel.SMS
    assert await balance_of(engine, org_id) == 1000 - 10


async def test_whatsapp_before_its_first_price_is_free_and_told_once_an_organisation(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    """One by one, in batches, twice, and many at once: by whatever lane they come."""
    org_id, other = await an_organization(engine, 1000), await an_organization(engine, 1000)
    sender, others = [await a_sender(engine, one) for one in (org_id, other)]
    free = [
        await twilio.send_many(10, f"{how}:{one}", **LONG_AGO)
        for how in ("whatsapp", "rcs")
        for one in (sender, others)
    ]
    sids = [sid for many in free for sid in many]
    handles = await asyncio.gather(
        *(report_statuses(worker, one, "delivered") for one in sids[::4])
    )
    again = [
        callback_of(seen_message(sid, status)) for sid in sids for status in ("sent", "delivered")
    ]
    await drain_messages_of(worker, engine, *again)
    assert {(await ended(one)).state for one in handles} == {MessageState.NOT_CHARGED}
    found = [await record_of(engine, sid) for sid in sids]
    assert {(one.state, one.amount) for one in found} == {(MessageState.NOT_CHARGED, None)}
    assert {one.note for one in found} == {
        f"sent before messages by {how} had a price" for how in ("whatsapp", "rcs")
    }
    for one in (org_id, other):
        assert (await balance_of(engine, one), await keys_of(engine, one)) == (1000, [])
        assert await alerts_about(engine, one) == [f"free-messages:{one}"]


async def test_whatsapp_of_a_sender_that_nobody_registered_waits_for_nobody_while_it_is_free(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    before = {**LONG_AGO, "created_at": "2019-01-01T00:00:00Z"}
    sid = await twilio.sends(f"whatsapp:{unique('+1555')}", **before)
    async with engine.begin() as connection:
        # Of nobody's there is one alert for ever, which another test may have had.
        await connection.execute(text("DELETE FROM alerts WHERE key = 'free-messages:'"))
    bill = await ended(await report_statuses(worker, sid, "delivered"))
    assert (bill.state, bill.org_id) == (MessageState.NOT_CHARGED, None)
    async with engine.connect() as connection:
        told = text("SELECT count(*) FROM alerts WHERE key = 'free-messages:'")
        assert await connection.scalar(told) == 1


async def test_after_the_first_price_whatsapp_waits_for_one_where_it_has_none(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    await priced_since_2020(engine, Channel.WHATSAPP, "7", org_id)
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(
            text("UPDATE sms_tariffs SET prefix = '1' WHERE org_id = :org_id"), {"org_id": org_id}
        )
    sender = await a_sender(engine, org_id)
    sid = await twilio.sends(f"whatsapp:{sender}", **LONG_AGO)
    handle = await report_statuses(worker, sid, "delivered")
    await until_parked(handle, "no_tariff")
    assert await alerts_about(engine, org_id) == []
    assert (await discard(handle, "the test is over")).state == "discarded"


async def test_what_goes_over_a_channel_that_nobody_knows_parks_and_says_so(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    await a_sender(engine, org_id)
    sid = await a_message(twilio, "messenger:1234567890", "delivered", to="messenger:987654321")
    handle = await report_statuses(worker, sid, "delivered")
    await until_parked(handle, "unknown_channel")
    assert "neither as SMS or MMS, nor over WhatsApp or RCS" in await page(handle)
    found: MessageRecord = await record_of(engine, sid)
    assert (found.channel, found.state) == (Channel.OTHER, MessageState.UNKNOWN_CHANNEL)
    assert (await discard(handle, "the test is over")).state == "discarded"
