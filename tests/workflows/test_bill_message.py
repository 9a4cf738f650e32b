"""A message's own process: charged once Twilio has taken it, given back if it never arrives."""

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from billing.ledger.entry import EntryKind
from billing.messages.message import MessageState, MessageStatus
from billing.organizations import AgentKind
from tests.support.eventually import eventually
from tests.support.factories import (
    a_sender,
    a_sid,
    an_organization,
    balance_of,
    credit,
    entries_of,
    keys_of,
    register,
)
from tests.support.messages import a_message, record_of, report_statuses
from tests.support.parked_workflows import (
    attributes,
    collect_all,
    discard,
    ended,
    page,
    reprocess,
    tries,
    until_parked,
)
from tests.support.stand_ins import TwilioStandIn
from tests.workflows.conftest import SkippingWorld
from workflows.bill_message import MOST_TURNS

# Two segments to the United Kingdom: 2 x 6 US cents at 0.79 to the pound, rounded up.
PENCE = 10


async def test_a_delivered_message_is_charged_once_by_segment_and_destination(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "delivered", segments=2)
    handle = await report_statuses(worker, sid, "sent", "delivered", "sent")
    bill = await ended(handle)
    assert (bill.state, bill.status) == (MessageState.CHARGED, MessageStatus.DELIVERED)
    [entry] = await entries_of(engine, org_id)
    assert (entry.key, entry.kind, entry.amount.amount_minor) == (
        f"sms:{sid}", EntryKind.SMS, PENCE,
    )  # fmt: skip
    assert (entry.debit_account, entry.credit_account) == (f"wallet:{org_id}", "usage:sms")
    assert await attributes(handle) == ("settled", None, org_id, PENCE)
    record = await record_of(engine, sid)
    assert (record.segments, record.org_id, record.workflow_id) == (2, org_id, f"sms/{sid}")


@pytest.mark.parametrize(
    "statuses", list(itertools.permutations(["queued", "sent", "undelivered"])), ids=str
)
async def test_every_order_of_callbacks_ends_in_the_same_balance(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn, statuses: tuple[str, ...]
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), statuses[0])
    for status in statuses:
        await twilio.becomes(sid, status, drop=True, error_code=30003)
        handle = await report_statuses(worker, sid, status, status)
        await until_reached(engine, sid, status)
    await ended(handle)
    assert await balance_of(engine, org_id) == 1000
    keys = await keys_of(engine, org_id)
    assert keys in ([], [f"sms:{sid}", f"sms:{sid}:reversal"])
    record = await record_of(engine, sid)
    assert (record.status, record.error_code) == (MessageStatus.UNDELIVERED, 30003)


async def until_reached(engine: AsyncEngine, sid: str, status: str) -> None:
    """Wait until a status, or a higher one, has had its effect."""
    query = text("""
        SELECT 1 FROM messages WHERE sid = :sid AND status_rank >= :rank
        AND (state IN ('charged', 'reversed', 'not_charged') OR status_rank < :sent)""")
    values = {"sid": sid, "rank": MessageStatus(status).rank, "sent": MessageStatus.SENT.rank}

    async def has_reached() -> bool:
        async with engine.connect() as connection:
            return (await connection.execute(query, values)).one_or_none() is not None

    await eventually(has_reached)


async def test_a_charge_is_given_back_when_the_message_fails(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent", segments=2)
    await report_statuses(worker, sid, "sent")
    await until_reached(engine, sid, "sent")
    assert await balance_of(engine, org_id) == 1000 - PENCE
    handle = await report_statuses(worker, sid, "failed")
    assert (await ended(handle)).state is MessageState.REVERSED
    assert await keys_of(engine, org_id) == [f"sms:{sid}", f"sms:{sid}:reversal"]
    charged, given_back = await entries_of(engine, org_id)
    assert given_back.reverses == charged.key
    assert given_back.kind is EntryKind.SMS_REVERSAL
    await report_statuses(worker, sid, "delivered", "failed", "sent")
    assert await balance_of(engine, org_id) == 1000


async def test_a_message_of_an_unknown_sender_settles_when_it_is_registered(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    service = f"MG{a_sid()[2:]}"
    sid = await a_message(twilio, "+15550001111", "delivered", messaging_service_sid=service)
    handle = await report_statuses(worker, sid, "delivered")
    await until_parked(handle, "unknown_sender")
    assert "/senders" in await page(handle)
    await register(engine, service, org_id, AgentKind.MESSAGING_SERVICE)
    await collect_all(worker, org_id)
    assert (await ended(handle)).state is MessageState.CHARGED
    assert await balance_of(engine, org_id) == 1000 - 5


async def test_over_the_limit_a_message_waits_for_money(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    sid = await a_message(twilio, await a_sender(engine, org_id), "delivered", segments=2)
    handle = await report_statuses(worker, sid, "delivered")
    assert await until_parked(handle, "debt_limit") == ("parked", "debt_limit", org_id, PENCE)
    assert "this message (2 x 6 USD minor units by sms to 44 at 0.79" in await page(handle)
    await credit(engine, org_id, PENCE)
    await collect_all(worker, org_id)
    assert (await ended(handle)).state is MessageState.CHARGED
    assert await balance_of(engine, org_id) == 0


async def test_a_message_that_fails_while_its_charge_waits_is_not_charged(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    await until_parked(await report_statuses(worker, sid, "sent"), "debt_limit")
    handle = await report_statuses(worker, sid, "failed")
    assert (await ended(handle)).state is MessageState.NOT_CHARGED
    await credit(engine, org_id, 1000)
    await collect_all(worker, org_id)
    assert await keys_of(engine, org_id) == []
    assert (await record_of(engine, sid)).org_id == org_id


async def test_a_person_can_give_a_charge_up(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    handle = await report_statuses(worker, sid, "sent")
    await until_parked(handle, "debt_limit")
    assert (await discard(handle, "Ann: a test message")).state == "discarded"
    assert (await ended(handle)).state is MessageState.DISCARDED
    again = await report_statuses(worker, sid, "delivered")
    assert (await ended(again)).state is MessageState.DISCARDED
    assert (await record_of(engine, sid)).note == "Ann: a test message"


async def test_twilio_away_parks_as_a_fault_and_heals(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "delivered")
    await twilio.misbehave(sid, kind="status", status=503, times=3)
    handle = await report_statuses(worker, sid, "delivered")
    await until_parked(handle, "fault")
    assert (await reprocess(handle, "Ann: it is back")).state == "settled"
    assert await balance_of(engine, org_id) == 1000 - 5


async def test_a_message_that_twilio_does_not_know_parks(worker: Client) -> None:
    handle = await report_statuses(worker, a_sid(), "sent")
    await until_parked(handle, "message_missing")
    assert (await discard(handle, "Ann: deleted")).state == "discarded"


async def test_a_first_404_of_twilio_is_not_final(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "delivered")
    await twilio.misbehave(sid, kind="status", status=404, times=2)
    handle = await report_statuses(worker, sid, "delivered")
    assert (await ended(handle)).state is MessageState.CHARGED
    assert (await attributes(handle))[:2] == ("settled", None)


async def test_no_number_and_no_text_is_in_a_history(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sender = await a_sender(engine, org_id)
    sid = await a_message(twilio, sender, "delivered")
    handle = await report_statuses(worker, sid, "delivered")
    await ended(handle)
    history = (await handle.fetch_history()).to_json()
    for personal in ("447700900123", sender[1:], "Your table"):
        assert personal not in history


@pytest.mark.parametrize(
    ("heard", "at_twilio", "outcome"),
    [
        ("sent", "sent", (MessageState.CHARGED, 2, 5)),
        ("queued", "delivered", (MessageState.CHARGED, 1, 5)),
        ("queued", "failed", (MessageState.NOT_CHARGED, 1, 0)),
    ],
)
async def test_after_a_day_without_a_final_status_twilio_is_asked(
    skipping: SkippingWorld,
    twilio: TwilioStandIn,
    heard: str,
    at_twilio: str,
    outcome: tuple[MessageState, int, int],
) -> None:
    state, asked, pence = outcome
    org_id = await an_organization(skipping.engine, 1000)
    sid = await a_message(twilio, await a_sender(skipping.engine, org_id), at_twilio)
    handle = await report_statuses(skipping.temporal, sid, heard)
    assert (await ended(handle)).state is state
    assert await tries(handle, "fetch_message") == asked
    assert await balance_of(skipping.engine, org_id) == 1000 - pence


async def test_a_message_that_is_not_sent_is_asked_for_every_day_and_can_still_be_charged(
    skipping: SkippingWorld, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(skipping.engine, 1000)
    sid = await a_message(twilio, await a_sender(skipping.engine, org_id), "scheduled")
    handle = await report_statuses(skipping.temporal, sid, "scheduled")
    assert (await ended(handle)).state is MessageState.PENDING
    assert await tries(handle, "fetch_message") == MOST_TURNS
    await twilio.becomes(sid, "delivered", drop=True)
    again = await report_statuses(skipping.temporal, sid, "delivered")
    assert (await ended(again)).state is MessageState.CHARGED
