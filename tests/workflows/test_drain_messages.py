"""The batch lane of messages: merged, priced and charged without a workflow each, and its net."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.inbox import batches
from activities.messages import message_batches
from billing.inbox.webhook_event import Drain, Source
from billing.messages.message import MessageState, MessageStatus, message_workflow_id
from processes.drains import nudge
from store.inbox import inbox
from tests.support.eventually import eventually
from tests.support.factories import (
    a_sender,
    a_sid,
    an_organization,
    balance_of,
    credit,
    keys_of,
    unique,
)
from tests.support.inbox_events import accept, is_handed_over, is_handled
from tests.support.messages import (
    a_message,
    callback_of,
    is_charged,
    record_of,
    report_statuses,
    seen_message,
)
from tests.support.messages import drain_messages_of as drain
from tests.support.parked_workflows import collect_all, discard, ended, until_parked
from tests.support.stand_ins import TwilioStandIn
from tests.workflows.conftest import SkippingWorld, World
from workflows import drain_messages


async def has_a_workflow(worker: Client, sid: str) -> bool:
    try:
        await worker.get_workflow_handle(message_workflow_id(sid)).describe()
    except RPCError as error:
        return error.status is not RPCStatusCode.NOT_FOUND
    return True


async def test_a_batch_charges_and_gives_back_without_workflows(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 10_000)
    sender = await a_sender(engine, org_id)
    good = await twilio.send_many(20, sender, status="delivered")
    bad = await twilio.send_many(5, sender, status="failed", error_code=30008)
    events = [
        callback_of(seen_message(sid, status)) for sid in good for status in ("delivered", "sent")
    ]
    events += [callback_of(seen_message(sid, "failed", 30008)) for sid in bad]
    await drain(worker, engine, *events)
    assert await balance_of(engine, org_id) == 10_000 - 20 * 5
    assert sorted(await keys_of(engine, org_id)) == sorted(f"sms:{sid}" for sid in good)
    lost = await record_of(engine, bad[0])
    assert (lost.org_id, lost.state, lost.error_code) == (org_id, MessageState.NOT_CHARGED, 30008)
    assert lost.workflow_id == drain_messages.WORKFLOW_ID
    assert not any([await has_a_workflow(worker, sid) for sid in (*good, *bad)])


async def test_a_message_that_fails_after_its_batch_is_given_back_by_another(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    await drain(worker, engine, callback_of(seen_message(sid, "sent")))
    assert await balance_of(engine, org_id) == 1000 - 5
    await drain(worker, engine, callback_of(seen_message(sid, "undelivered", 30003)))
    assert await keys_of(engine, org_id) == [f"sms:{sid}", f"sms:{sid}:reversal"]
    assert await balance_of(engine, org_id) == 1000
    record = await record_of(engine, sid)
    assert (record.state, record.error_code) == (MessageState.REVERSED, 30003)
    assert record.amount is not None
    assert record.amount.amount_minor == 5


async def test_what_a_batch_cannot_settle_parks_in_a_workflow_of_its_own(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    sender = await a_sender(engine, org_id)
    dear = await a_message(twilio, sender, "delivered")
    unknown = a_sid()
    faulty = await a_message(twilio, sender, "delivered")
    await twilio.misbehave(faulty, kind="status", status=500, times=4)
    events = [callback_of(seen_message(sid, "delivered")) for sid in (dear, unknown, faulty)]
    await drain(worker, engine, *events)
    for sid, reason in ((dear, "debt_limit"), (unknown, "message_missing"), (faulty, "fault")):
        handle = worker.get_workflow_handle(message_workflow_id(sid))
        await until_parked(handle, reason)
    await credit(engine, org_id, 1000)
    await collect_all(worker, org_id)
    await ended(worker.get_workflow_handle(message_workflow_id(dear)))
    assert await keys_of(engine, org_id) == [f"sms:{dear}"]


async def test_a_poison_row_parks_and_does_not_hold_up_the_others(
    world: World, twilio: TwilioStandIn
) -> None:
    """In an inbox of its own: what waits there would be in every later batch."""
    temporal, engine = world.temporal, world.engine
    org_id = await an_organization(engine, 1000)
    good, bad = await twilio.send_many(2, await a_sender(engine, org_id), status="delivered")
    too_large = 2**40
    await accept(engine, callback_of(seen_message(bad, "delivered", too_large)))
    await drain(temporal, engine, callback_of(seen_message(good, "delivered")))
    await eventually(lambda: is_charged(engine, good))
    assert await balance_of(engine, org_id) == 1000 - 5
    assert (await record_of(engine, good)).workflow_id == drain_messages.WORKFLOW_ID
    await until_parked(temporal.get_workflow_handle(message_workflow_id(bad)), "fault")


async def test_many_callbacks_wait_for_a_twilio_that_is_away_instead_of_parking(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sids = await twilio.send_many(20, await a_sender(engine, org_id), status="delivered")
    for sid in sids:
        await twilio.misbehave(sid, kind="status", status=503)
    waiting = [callback_of(seen_message(sid, "delivered")) for sid in sids]
    await accept(engine, *waiting)
    await nudge(worker, Drain.MESSAGES)
    await eventually(lambda: is_handed_over(engine, *waiting))
    async with engine.begin() as connection:
        await inbox.make_due(connection, Source.TWILIO, [one.key for one in waiting])
    await nudge(worker, Drain.MESSAGES)
    await eventually(lambda: is_handled(engine, *waiting))
    assert await balance_of(engine, org_id) == 1000 - 20 * 5
    assert not any([await has_a_workflow(worker, sid) for sid in sids])


async def test_a_message_that_has_a_workflow_is_left_to_it(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    handle = await report_statuses(worker, sid, "sent")
    await eventually(lambda: has_keys(engine, org_id))
    await drain(worker, engine, callback_of(seen_message(sid, "failed")))
    assert (await ended(handle)).state is MessageState.REVERSED
    assert await balance_of(engine, org_id) == 1000


async def has_keys(engine: AsyncEngine, org_id: str) -> bool:
    return bool(await keys_of(engine, org_id))


async def test_a_price_of_an_organisation_by_destination_comes_before_the_default(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn
) -> None:
    org_id = await an_organization(engine, 1000)
    async with engine.begin() as connection:
        await connection.execute(
            text("""INSERT INTO sms_tariffs VALUES
                (:id, :org, '4477', 'gbp', :price, 1, 'gbp', '2020-01-01T00:00:00Z')"""),
            {"id": f"own-{org_id}", "org": org_id, "price": Decimal("20.5")},
        )
    sender = await a_sender(engine, org_id)
    near = await a_message(twilio, sender, "delivered", segments=3)
    far = await a_message(twilio, sender, "delivered", to="+819012345678")
    await drain(
        worker, engine, *(callback_of(seen_message(sid, "delivered")) for sid in (near, far))
    )
    amounts = {(await record_of(engine, sid)).amount for sid in (near, far)}
    assert {amount.amount_minor for amount in amounts if amount} == {62, 12}


async def test_an_end_that_nobody_told_of_is_watched_for_after_a_batch(
    sweeping: SkippingWorld, twilio: TwilioStandIn
) -> None:
    engine = sweeping.engine
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "sent")
    await drain(sweeping.temporal, engine, callback_of(seen_message(sid, "sent")))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE messages SET watch_at = now()"))
    await twilio.becomes(sid, "failed", drop=True)
    await eventually(lambda: is_given_back(engine, sid))
    assert await balance_of(engine, org_id) == 1000
    assert (await record_of(engine, sid)).status is MessageStatus.FAILED


async def is_given_back(engine: AsyncEngine, sid: str) -> bool:
    return (await record_of(engine, sid)).state is MessageState.REVERSED


async def test_callbacks_whose_start_was_lost_are_swept_up_without_a_nudge(
    sweeping: SkippingWorld, twilio: TwilioStandIn
) -> None:
    engine = sweeping.engine
    org_id = await an_organization(engine, 1000)
    sid = await a_message(twilio, await a_sender(engine, org_id), "delivered")
    lost = callback_of(seen_message(sid, "delivered"), due_in_seconds=0.5)
    await accept(engine, lost)
    await eventually(lambda: is_handled(engine, lost))
    assert await balance_of(engine, org_id) == 1000 - 5


async def test_what_there_is_no_room_to_hand_over_does_not_hold_up_what_a_batch_can_settle(
    worker: Client, engine: AsyncEngine, twilio: TwilioStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MOST_EXCEPTIONS", 2)
    monkeypatch.setattr(message_batches, "BATCH", 2)
    nobodys = await twilio.send_many(6, unique("+1555"), status="sent")
    sender = await a_sender(engine, await an_organization(engine, 1000))
    ours = await twilio.send_many(3, sender, status="delivered")
    events = [callback_of(seen_message(sid, "sent")) for sid in nobodys]
    events += [callback_of(seen_message(sid, "delivered")) for sid in ours]
    await drain(worker, engine, *events)
    assert all([await is_charged(engine, sid) for sid in ours])
    waiting = {(await record_of(engine, sid)).state for sid in nobodys}
    assert waiting == {MessageState.UNKNOWN_SENDER}
    for sid in nobodys:
        handle = worker.get_workflow_handle(message_workflow_id(sid))
        await until_parked(handle, MessageState.UNKNOWN_SENDER)
        await discard(handle, "the test is over")
