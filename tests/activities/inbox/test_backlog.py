"""A backlog that cannot be paid costs nothing: what is refused once waits without being asked."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs
from temporalio.testing import ActivityEnvironment

from activities.calls.calls import CallActivities
from activities.collection.collection import CollectionActivities
from activities.inbox import batches
from activities.inbox import inbox as inbox_module
from activities.inbox.inbox import InboxActivities
from activities.messages import message_batches
from activities.messages.message_batches import MessageLane
from activities.messages.messages import MessageActivities
from activities.messages.twilio import TwilioApi
from billing.calls.call import CallBill, CallState, EndedCall, rate
from billing.inbox.webhook_event import POSTPONED_SECONDS, Drained, DrainedMessages, PaymentHint
from billing.ledger.entry import PostingCounts, call_key
from billing.messages.message import (
    MessageBill,
    MessageFacts,
    MessageNews,
    MessageRef,
    MessageState,
    SeenMessage,
)
from billing.platform_rules import PlatformRules
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.calls import calls
from store.ledger import ledger
from store.messages import messages
from tests.support.eventually import eventually
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    credit_of,
    ended_call,
    keys_of,
    unique,
)
from tests.support.inbox_events import accept, event_of, report_of
from tests.support.messages import callback_of, seen_message

RULES = PlatformRules()
PORTION = 40


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a drain hands over is little, and it does not linger for more."""
    monkeypatch.setattr(inbox_module, "BATCH", 50)
    monkeypatch.setattr(batches, "MOST_EXCEPTIONS", PORTION)
    monkeypatch.setattr(batches, "LINGER_SECONDS", 0.0)


async def drain(engine: AsyncEngine) -> Drained:
    return await ActivityEnvironment().run(InboxActivities(engine).drain)


async def drain_later(engine: AsyncEngine) -> Drained:
    """Drain as much later as the drain would."""
    await time_passes(engine)
    return await drain(engine)


async def time_passes(engine: AsyncEngine) -> None:
    later = text("UPDATE webhook_events SET due_at = due_at - make_interval(secs => :seconds)")
    async with engine.begin() as connection:
        await connection.execute(later, {"seconds": POSTPONED_SECONDS})


async def look(engine: AsyncEngine, call: EndedCall) -> CallBill:
    """Do what a call's own process does first, or when it is woken up."""
    return await ActivityEnvironment().run(CallActivities(engine).bill_call, call)


async def collect(engine: AsyncEngine, org_id: str) -> PostingCounts:
    collecting = CollectionActivities(engine, RULES)
    return (await ActivityEnvironment().run(collecting.collect, org_id)).postings


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that were priced, one after another."""
    seen = list[str]()

    def counted(call: EndedCall, *given: Any) -> Any:
        seen.append(call.call_id)
        return rate(call, *given)

    monkeypatch.setattr("store.calls.calls.rate", counted)
    return seen


def about(org_id: str, logs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """What was logged of an organisation: a worker of other tests logs beside it."""
    return [one for one in logs if one.get("org_id") == org_id]


@pytest.mark.usefixtures("portions")
async def test_a_backlog_is_priced_and_refused_once_by_the_drain_and_told_once(
    engine_apart: AsyncEngine, priced: list[str]
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    assistant = await an_assistant(engine_apart, org_id)
    backlog = [ended_call(assistant) for _ in range(300)]
    await accept(engine_apart, *map(report_of, backlog))
    with capture_logs() as logs:
        drains = [await drain_later(engine_apart) for _ in range(12)]
    assert sorted(priced) == sorted(one.call_id for one in backlog)
    assert sum(one.postings.refused for one in drains) == 300
    assert len(about(org_id, logs)) == 300
    handed_over = [call for one in drains for call in one.calls]
    assert sorted(one.call_id for one in handed_over) == sorted(one.call_id for one in backlog)
    assert max(len(one.calls) for one in drains) == PORTION
    assert await drain_later(engine_apart) == Drained(0)


@pytest.mark.usefixtures("portions")
async def test_a_payment_is_handed_over_before_the_backlog_of_calls(
    engine_apart: AsyncEngine,
) -> None:
    """It brings money. A portion of calls that was due before it has all the room otherwise."""
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    assistant = await an_assistant(engine_apart, org_id)
    await accept(engine_apart, *(report_of(ended_call(assistant)) for _ in range(3 * PORTION)))
    assert len((await drain(engine_apart)).calls) == PORTION
    hint = PaymentHint(unique("pi"), unique("evt"))
    await accept(engine_apart, event_of(hint, due_in_seconds=POSTPONED_SECONDS))
    drained = await drain_later(engine_apart)
    assert (drained.payments, len(drained.calls)) == ((hint,), PORTION - 1)


@pytest.mark.usefixtures("portions")
async def test_a_process_that_finds_what_the_drain_has_found_writes_and_tells_nothing(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine_apart, org_id))
    await accept(engine_apart, report_of(call))
    await drain(engine_apart)
    written = await last_writers(engine_apart)
    with capture_logs() as logs:
        bills = [await look(engine_apart, call) for _ in range(3)]
    assert {bill.state for bill in bills} == {CallState.DEBT_LIMIT}
    assert all(bill.posting and bill.posting.refused_amount for bill in bills)
    assert about(org_id, logs) == []
    assert await last_writers(engine_apart) == written


async def last_writers(engine: AsyncEngine) -> list[str]:
    """Read which transactions wrote the rows of calls."""
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT xmin::text FROM calls")))


async def test_a_refusal_of_another_amount_is_told(engine_apart: AsyncEngine) -> None:
    """Better facts make it another matter."""
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine_apart, org_id))
    await look(engine_apart, EndedCall(call.call_id, call.assistant_id, ended_at=NOON))
    with capture_logs() as logs:
        await look(engine_apart, call)
        await look(engine_apart, call)
        longer = EndedCall(
            call.call_id,
            call.assistant_id,
            started_at=NOON - timedelta(seconds=600),
            ended_at=NOON,
            provider_ended=True,
        )
        await look(engine_apart, longer)
        await look(engine_apart, longer)
    assert [(one["outcome"], one["amount_minor"]) for one in about(org_id, logs)] == [
        ("refused", 56),
        ("refused", 553),
    ]


async def test_a_credit_that_pays_little_of_a_backlog_tells_only_of_that(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    assistant = await an_assistant(engine_apart, org_id)
    await accept(engine_apart, *(report_of(ended_call(assistant)) for _ in range(30)))
    await drain(engine_apart)
    await credit(engine_apart, org_id, 120)
    with capture_logs() as logs:
        assert await collect(engine_apart, org_id) == PostingCounts(applied=2, refused=28)
    assert [one["outcome"] for one in about(org_id, logs)] == ["applied", "applied"]
    assert await balance_of(engine_apart, org_id) == 120 - 2 * 56


# ---- messages


async def drain_messages(engine: AsyncEngine) -> DrainedMessages:
    """Drain messages of which Twilio has said everything: it cannot be asked."""
    async with httpx.AsyncClient() as nobody:
        lane = MessageLane(engine, TwilioApi(nobody, {}), RULES)
        return await ActivityEnvironment().run(lane.drain_messages)


async def sent(engine: AsyncEngine, sender: str, count: int) -> list[SeenMessage]:
    """Have messages of one segment (5 pence) delivered, and their callbacks in the inbox."""
    seen = [seen_message(a_sid(), "delivered") for _ in range(count)]
    facts = MessageFacts(NOON, 1, "447700", sender, None)
    async with engine.begin() as connection:
        await messages.observe(connection, seen)
        await messages.keep_facts(connection, {one.sid: facts for one in seen})
    await accept(engine, *map(callback_of, seen))
    return seen


async def test_a_backlog_of_messages_is_refused_once_and_told_once(
    engine_apart: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_batches, "BATCH", 10)
    monkeypatch.setattr(batches, "MOST_EXCEPTIONS", 8)
    monkeypatch.setattr(batches, "LINGER_SECONDS", 0.0)
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    seen = await sent(engine_apart, await a_sender(engine_apart, org_id), 40)
    with capture_logs() as logs:
        drains = []
        for _ in range(6):
            await time_passes(engine_apart)
            drains.append(await drain_messages(engine_apart))
    assert sum(one.postings.refused for one in drains) == 40
    assert len(about(org_id, logs)) == 40
    handed_over = sorted(message.sid for one in drains for message in one.messages)
    assert handed_over == sorted(one.sid for one in seen)
    assert drains[-1] == DrainedMessages(0)


async def test_a_message_that_is_refused_as_before_is_neither_written_nor_told(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    [seen] = await sent(engine_apart, await a_sender(engine_apart, org_id), 1)
    await drain_messages(engine_apart)
    with capture_logs() as logs:
        bills = [await hear_of(engine_apart, seen) for _ in range(3)]
    assert {bill.state for bill in bills} == {MessageState.DEBT_LIMIT}
    assert logs == []
    await credit(engine_apart, org_id, 5)
    assert (await hear_of(engine_apart, seen)).state is MessageState.CHARGED


async def hear_of(engine: AsyncEngine, seen: SeenMessage) -> MessageBill:
    news = MessageNews(MessageRef(seen.sid, ACCOUNT_SID), (seen,))
    return await ActivityEnvironment().run(MessageActivities(engine, RULES).bill_message, news)


# ---- what changes is not missed


async def test_a_call_that_is_refused_just_before_the_credit_is_collected_by_it(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine_apart, org_id))
    async with engine_apart.begin() as charging:
        [bill] = await calls.charge(charging, [call])
        crediting = asyncio.create_task(credit(engine_apart, org_id, 100))
        await eventually(partial(is_blocked, engine_apart))
    assert bill.state is CallState.DEBT_LIMIT
    await crediting
    assert await collect(engine_apart, org_id) == PostingCounts(applied=1)


async def test_a_call_that_comes_while_the_credit_is_made_is_paid_by_it(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine_apart, org_id))
    await accept(engine_apart, report_of(call))
    async with engine_apart.begin() as crediting:
        await ledger.post(crediting, [credit_of(org_id, 100)])
        draining = asyncio.create_task(drain(engine_apart))
        await eventually(partial(is_blocked, engine_apart))
    assert await draining == Drained(1, postings=PostingCounts(applied=1))


@pytest.mark.usefixtures("portions")
async def test_what_is_not_asked_again_while_the_credit_is_made_is_collected_by_it(
    engine_apart: AsyncEngine,
) -> None:
    """Its process looks before, or after: either way it is charged once."""
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    assistant = await an_assistant(engine_apart, org_id)
    backlog = [ended_call(assistant) for _ in range(PORTION + 2)]
    await accept(engine_apart, *map(report_of, backlog))
    await drain(engine_apart)
    async with engine_apart.begin() as crediting:
        await ledger.post(crediting, [credit_of(org_id, 10_000)])
        handed_over = (await drain_later(engine_apart)).calls
        looks = [asyncio.create_task(look(engine_apart, call)) for call in handed_over]
        await eventually(partial(is_blocked, engine_apart))
    bills = await asyncio.gather(*looks)
    await collect(engine_apart, org_id)
    again = [await look(engine_apart, call) for call in handed_over]
    assert {one.state for one in (*bills, *again)} == {CallState.SETTLED}
    assert sorted(await keys_of(engine_apart, org_id)) == sorted(
        call_key(one.call_id) for one in backlog
    )


async def is_blocked(engine: AsyncEngine) -> bool:
    """Return whether somebody waits for a lock in this database."""
    query = """SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock')"""
    async with engine.connect() as connection:
        return bool(await connection.scalar(text(query)))


@pytest.mark.usefixtures("portions")
async def test_what_is_paid_while_it_waits_for_its_turn_is_done_with(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, debt_limit_minor=0)
    assistant = await an_assistant(engine_apart, org_id)
    backlog = [ended_call(assistant) for _ in range(60)]
    await accept(engine_apart, *map(report_of, backlog))
    first = await drain(engine_apart)
    await credit(engine_apart, org_id, 100_000)
    assert await collect(engine_apart, org_id) == PostingCounts(applied=60)
    second = await drain_later(engine_apart)
    assert (len(first.calls), second.settled, second.calls) == (PORTION, 60 - PORTION, ())


@pytest.mark.usefixtures("portions")
async def test_what_is_told_better_while_it_waits_is_priced_anew_by_the_drain(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart, 100, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine_apart, org_id))
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [EndedCall(call.call_id, call.assistant_id)])
    await accept(engine_apart, report_of(call))
    assert await drain(engine_apart) == Drained(1, postings=PostingCounts(applied=1))
