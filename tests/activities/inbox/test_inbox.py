"""The batch lane: everything due is settled or handed over, and nothing holds up the rest."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.calls.calls import CallActivities
from activities.inbox import batches
from activities.inbox import inbox as inbox_module
from activities.inbox.inbox import InboxActivities
from activities.messages.message_batches import MessageLane
from activities.messages.messages import MessageActivities
from activities.messages.twilio import TwilioApi
from billing.calls.call import CallState, EndedCall
from billing.calls.call_record import DiscardedCall
from billing.inbox.webhook_event import (
    END_OF_CALL,
    Drained,
    PaymentHint,
    Source,
    WebhookEvent,
    call_event_key,
)
from billing.ledger.entry import PostingCounts, call_key
from billing.messages.message import DiscardedMessage
from billing.platform_rules import PlatformRules
from store.alerts import alerts
from store.calls import call_records, calls, discards
from store.inbox import inbox
from store.messages import discards as message_discards
from store.messages import messages
from tests.support.factories import (
    a_poisonous_assistant,
    a_ruinous_assistant,
    a_sid,
    an_assistant,
    an_organization,
    balance_of,
    ended_call,
    keys_of,
    register,
    unique,
)
from tests.support.messages import callback_of, seen_message


def report_of(call: EndedCall) -> WebhookEvent:
    key = call_event_key(call.call_id, END_OF_CALL)
    return WebhookEvent(Source.VAPI, key, END_OF_CALL, call.call_id, "{}", facts=call)


async def accept(engine: AsyncEngine, events: Iterable[WebhookEvent]) -> None:
    async with engine.begin() as connection:
        await inbox.accept(connection, events)


async def drain(engine: AsyncEngine) -> Drained:
    return await ActivityEnvironment().run(InboxActivities(engine).drain)


async def waiting(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return (await inbox.backlog(connection)).waiting


@pytest.fixture
async def assistant(engine_apart: AsyncEngine) -> str:
    org_id = await an_organization(engine_apart, 1_000_000, org_id="rich")
    return await an_assistant(engine_apart, org_id)


async def test_a_flood_is_settled_in_batches(engine_apart: AsyncEngine, assistant: str) -> None:
    await accept(engine_apart, (report_of(ended_call(assistant)) for _ in range(1100)))
    assert await drain(engine_apart) == Drained(settled=1100, postings=PostingCounts(applied=1100))
    assert await waiting(engine_apart) == 0
    assert await balance_of(engine_apart, "rich") == 1_000_000 - 1100 * 56


async def test_two_drains_at_once_charge_each_call_once(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    await accept(engine_apart, (report_of(ended_call(assistant)) for _ in range(1100)))
    both = await asyncio.gather(drain(engine_apart), drain(engine_apart))
    assert sum(drained.settled for drained in both) == 1100
    assert await balance_of(engine_apart, "rich") == 1_000_000 - 1100 * 56


async def test_what_a_batch_settled_names_the_drain_as_who_saw_it_last(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    call = ended_call(assistant)
    await accept(engine_apart, [report_of(call)])
    await drain(engine_apart)
    async with engine_apart.connect() as connection:
        record = await call_records.read(connection, call.call_id)
    assert record.workflow_id == ActivityEnvironment.default_info().workflow_id


async def test_what_a_batch_cannot_settle_is_handed_over_and_not_taken_again(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    unknown, endless = (
        ended_call(unique("assistant")),
        replace(ended_call(assistant), ended_at=None),
    )
    payment = WebhookEvent(Source.STRIPE, "evt_1", "payment_intent.succeeded", "pi_1", "{}")
    await accept(
        engine_apart,
        [report_of(unknown), report_of(endless), payment, report_of(ended_call(assistant))],
    )
    drained = await drain(engine_apart)
    assert drained == Drained(
        1, (unknown, endless), (PaymentHint("pi_1", "evt_1"),), postings=PostingCounts(applied=1)
    )
    assert await waiting(engine_apart) == 3
    assert await drain(engine_apart) == Drained(0)
    async with engine_apart.connect() as connection:
        assert (await call_records.read(connection, unknown.call_id)).state is (
            CallState.UNKNOWN_ASSISTANT
        )


async def test_a_call_that_a_person_gave_up_is_done_with(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    call = ended_call(assistant)
    async with engine_apart.begin() as connection:
        await discards.discard(connection, call, "Ann: a test call")
    await accept(engine_apart, [report_of(call)])
    assert await drain(engine_apart) == Drained(1)
    assert await balance_of(engine_apart, "rich") == 1_000_000


@pytest.mark.parametrize("place", [0, 4, 9])
async def test_what_fails_alone_is_set_aside_and_its_neighbours_are_charged_once(
    engine_apart: AsyncEngine, assistant: str, place: int
) -> None:
    good = [ended_call(assistant) for _ in range(9)]
    poison = ended_call(await a_poisonous_assistant(engine_apart))
    batch = [*good[:place], poison, *good[place:]]
    await accept(engine_apart, map(report_of, batch))
    assert await drain(engine_apart) == Drained(9, (poison,), postings=PostingCounts(applied=9))
    assert set(await keys_of(engine_apart, "rich")) >= {call_key(one.call_id) for one in good}
    assert await due_in_minutes(engine_apart, poison) > 30
    await accept(engine_apart, [report_of(ended_call(assistant))])
    assert await drain(engine_apart) == Drained(1, postings=PostingCounts(applied=1))


async def test_a_batch_of_one_that_fails_for_its_data_counts_as_alone(
    engine_apart: AsyncEngine,
) -> None:
    poison = ended_call(await a_poisonous_assistant(engine_apart))
    await accept(engine_apart, [report_of(poison)])
    assert await drain(engine_apart) == Drained(0, (poison,))


async def test_a_call_that_a_person_gave_up_is_done_with_beside_a_poison(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    given_up = ended_call(assistant)
    async with engine_apart.begin() as connection:
        await discards.discard(connection, given_up, "Ann: a test call")
    poison = ended_call(await a_poisonous_assistant(engine_apart))
    await accept(engine_apart, [report_of(given_up), report_of(poison)])
    assert await drain(engine_apart) == Drained(1, (poison,))


async def test_where_everything_fails_nothing_moves_and_it_is_raised(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    """It is no event that is bad then. With one that passes beside them they are set aside."""
    failing = [
        ended_call(await a_poisonous_assistant(engine_apart, "raise_exception")) for _ in range(3)
    ]
    await accept(engine_apart, map(report_of, failing))
    with pytest.raises(DBAPIError):
        await drain(engine_apart)
    assert await waiting(engine_apart) == 3
    assert await due_in_minutes(engine_apart, failing[0]) <= 0
    good = ended_call(assistant)
    await accept(engine_apart, [report_of(good)])
    drained = await drain(engine_apart)
    assert (drained.settled, set(drained.calls)) == (1, set(failing))


async def due_in_minutes(engine: AsyncEngine, call: EndedCall) -> float:
    query = "SELECT extract(epoch FROM due_at - now()) / 60 FROM webhook_events WHERE subject = :id"
    async with engine.connect() as connection:
        return float(await connection.scalar(text(query), {"id": call.call_id}) or 0)


async def test_a_tariff_that_cannot_be_meant_stops_no_batch_and_its_call_waits(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    good = ended_call(assistant)
    dear = ended_call(await a_ruinous_assistant(engine_apart))
    await accept(engine_apart, [report_of(good), report_of(dear)])
    assert await drain(engine_apart) == Drained(1, (dear,), postings=PostingCounts(applied=1))
    async with engine_apart.connect() as connection:
        state = (await call_records.read(connection, dear.call_id)).state
    assert state is CallState.NO_TARIFF


async def test_a_drain_hands_over_before_its_answer_grows_large(
    engine_apart: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "BATCH", 10)
    monkeypatch.setattr(batches, "MOST_EXCEPTIONS", 20)
    monkeypatch.setattr(batches, "POSTPONED_SECONDS", 0.5)
    ownerless = (report_of(ended_call(unique("assistant"))) for _ in range(45))
    await accept(engine_apart, ownerless)
    drains = []
    for _ in range(3):
        drains.append(await drain(engine_apart))
        await asyncio.sleep(0.5)
    assert [len(drained.calls) for drained in drains] == [20, 20, 5]
    assert [drained.more for drained in drains] == [True, True, False]
    assert len({call.call_id for drained in drains for call in drained.calls}) == 45


async def test_what_a_batch_cannot_settle_does_not_hold_up_what_it_can(
    engine_apart: AsyncEngine, assistant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "BATCH", 10)
    monkeypatch.setattr(batches, "MOST_EXCEPTIONS", 5)
    await accept(engine_apart, (report_of(ended_call(unique("assistant"))) for _ in range(30)))
    await accept(engine_apart, [report_of(ended_call(assistant))])
    drained = await drain(engine_apart)
    assert (drained.settled, len(drained.calls), drained.more) == (1, 5, True)


async def test_events_that_are_due_later_are_left_to_their_own_workflow(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    later = replace(report_of(ended_call(assistant)), due_in_seconds=3600.0)
    await accept(engine_apart, [later])
    assert await drain(engine_apart) == Drained(0)
    assert await waiting(engine_apart) == 1


async def edited(engine: AsyncEngine, subject: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(
            text("""UPDATE webhook_events SET facts = '{"of": "another version"}'
                    WHERE subject = :subject"""),
            {"subject": subject},
        )


async def test_a_report_that_nobody_can_read_is_left_to_a_process_that_asks_vapi(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    good, edited_one = ended_call(assistant), ended_call(assistant)
    await accept(engine_apart, map(report_of, (edited_one, good)))
    await edited(engine_apart, edited_one.call_id)
    asked = EndedCall(edited_one.call_id)
    assert await drain(engine_apart) == Drained(1, (asked,), postings=PostingCounts(applied=1))


async def test_a_callback_that_nobody_can_read_holds_up_no_other_and_is_told_once(
    engine_apart: AsyncEngine,
) -> None:
    unreadable, readable = (seen_message(a_sid(), "queued") for _ in range(2))
    await accept(engine_apart, map(callback_of, (unreadable, readable)))
    await edited(engine_apart, unreadable.sid)
    async with httpx.AsyncClient() as nobody:
        lane = MessageLane(engine_apart, TwilioApi(nobody, {}), PlatformRules())
        for settled in (1, 0):
            assert (await ActivityEnvironment().run(lane.drain_messages)).settled == settled
    async with engine_apart.connect() as connection:
        [told] = await alerts.pending(connection, 10)
    assert told.key == f"unreadable:{unreadable.key}"
    assert await waiting(engine_apart) == 1


async def test_a_bad_report_of_a_call_that_is_settled_or_given_up_is_done_with(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    """Its process has ended, and would be begun anew for nothing, again and again."""
    sick = await register(engine_apart, unique("poison"), "rich")
    settled, given_up = ended_call(sick), ended_call(sick)
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [replace(settled, ended_reason=None)])
        await discards.discard(connection, replace(given_up, ended_reason=None), "Ann: a test call")
    poison = ended_call(await a_poisonous_assistant(engine_apart))
    good = ended_call(assistant)
    await accept(engine_apart, map(report_of, (settled, poison, good, given_up)))
    assert await drain(engine_apart) == Drained(3, (poison,), postings=PostingCounts(applied=1))
    assert await waiting(engine_apart) == 1


async def test_what_a_person_gives_up_leaves_no_event_behind(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    """The report that made it fail would otherwise begin it anew."""
    call, seen = ended_call(assistant), seen_message(a_sid(), "queued")
    later = replace(report_of(call), due_in_seconds=3600.0)
    await accept(engine_apart, [later, callback_of(seen, due_in_seconds=3600.0)])
    given_up = DiscardedCall(call, "Ann: a test")
    await ActivityEnvironment().run(CallActivities(engine_apart).discard_call, given_up)
    message = DiscardedMessage(seen.sid, "Ann: a test", seen, (seen.key,))
    of_messages = MessageActivities(engine_apart, PlatformRules())
    await ActivityEnvironment().run(of_messages.discard_message, message)
    assert await waiting(engine_apart) == 0


async def test_a_bad_callback_of_a_message_that_is_given_up_is_done_with(
    engine_apart: AsyncEngine,
) -> None:
    given_up, good, bad = (seen_message(a_sid(), "queued") for _ in range(3))
    async with engine_apart.begin() as connection:
        await messages.observe(connection, [given_up, bad])
        await message_discards.discard(connection, given_up.sid, "Ann: a test")
    too_large = [seen_message(one.sid, "sending", 2**40) for one in (given_up, bad)]
    await accept(engine_apart, map(callback_of, (*too_large, good)))
    async with httpx.AsyncClient() as nobody:
        lane = MessageLane(engine_apart, TwilioApi(nobody, {}), PlatformRules())
        drained = await ActivityEnvironment().run(lane.drain_messages)
    assert (drained.settled, [one.sid for one in drained.messages]) == (2, [bad.sid])
