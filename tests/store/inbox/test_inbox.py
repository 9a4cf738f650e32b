"""The inbox: each event once, handed out when due, to one drain at a time."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.inbox.webhook_event import (
    END_OF_CALL,
    Drain,
    EventStatus,
    PaymentHint,
    Source,
    WebhookEvent,
    call_event_key,
)
from store.inbox import inbox
from store.inbox.inbox import DueEvent
from tests.support.factories import ended_call, unique


def call_event(
    *, due_in_seconds: float = 0.0, status: EventStatus = EventStatus.WAITING
) -> WebhookEvent:
    call = ended_call(unique("assistant"))
    return WebhookEvent(
        source=Source.VAPI,
        key=call_event_key(call.call_id, END_OF_CALL),
        type=END_OF_CALL,
        subject=call.call_id,
        body="{}",
        status=status,
        due_in_seconds=due_in_seconds,
        facts=call,
    )


def payment_event() -> WebhookEvent:
    return WebhookEvent(
        source=Source.STRIPE,
        key=unique("evt"),
        type="payment_intent.succeeded",
        subject=unique("pi"),
        body="{}",
    )


def named(*events: WebhookEvent) -> set[tuple[str, str]]:
    return {(event.source, event.key) for event in events}


async def accept(engine: AsyncEngine, *events: WebhookEvent) -> set[tuple[str, str]]:
    async with engine.begin() as connection:
        return await inbox.accept(connection, events)


async def due(engine: AsyncEngine, limit: int = 100, drain: Drain = Drain.INBOX) -> list[DueEvent]:
    async with engine.begin() as connection:
        return await inbox.take_due(connection, drain, limit)


async def make_due(engine: AsyncEngine, event_ids: Iterable[int], seconds_ago: int) -> None:
    """Let time have passed."""
    statement = text(
        "UPDATE webhook_events SET due_at = now() - make_interval(secs => :seconds)"
        " WHERE event_id = ANY(:ids)"
    )
    async with engine.begin() as connection:
        await connection.execute(statement, {"seconds": seconds_ago, "ids": list(event_ids)})


async def test_an_event_is_new_once_within_a_set_and_across_sets(
    engine_apart: AsyncEngine,
) -> None:
    one, two, three = call_event(), call_event(), payment_event()
    assert await accept(engine_apart, one, two, one) == named(one, two)
    assert await accept(engine_apart, two, three, one) == named(three)
    assert await accept(engine_apart, one, two, three) == set()
    assert len(await due(engine_apart)) == 3


async def test_an_earlier_message_about_a_call_does_not_make_its_report_a_duplicate(
    engine_apart: AsyncEngine,
) -> None:
    report = call_event()
    status = replace(
        report,
        key=call_event_key(report.subject, "status-update"),
        type="status-update",
        status=EventStatus.IGNORED,
        facts=None,
    )
    assert await accept(engine_apart, status) == named(status)
    assert await accept(engine_apart, report) == named(report)
    assert [event.facts for event in await due(engine_apart)] == [report.facts]


async def test_the_same_key_of_another_sender_is_another_event(engine_apart: AsyncEngine) -> None:
    ours = payment_event()
    theirs = replace(ours, source=Source.VAPI)
    assert await accept(engine_apart, ours, theirs) == named(ours, theirs)


async def test_a_due_event_has_the_facts_that_it_came_with(engine_apart: AsyncEngine) -> None:
    call, payment = call_event(), payment_event()
    await accept(engine_apart, call, payment)
    found = {event.key: event for event in await due(engine_apart)}
    assert found[call.key].facts == call.facts
    assert found[payment.key].facts == PaymentHint(payment.subject, payment.key)


async def test_only_what_waits_and_is_due_is_handed_out(engine_apart: AsyncEngine) -> None:
    now, later = call_event(), call_event(due_in_seconds=3600)
    await accept(engine_apart, now, later, call_event(status=EventStatus.IGNORED))
    assert [event.key for event in await due(engine_apart)] == [now.key]


async def test_the_longest_due_comes_first(engine_apart: AsyncEngine) -> None:
    await accept(engine_apart, *(call_event() for _ in range(4)))
    first, second, third, fourth = sorted(one.event_id for one in await due(engine_apart))
    await make_due(engine_apart, [third], 60)
    await make_due(engine_apart, [fourth, second], 30)
    found = [event.event_id for event in await due(engine_apart)]
    assert found == [third, second, fourth, first]
    assert [event.event_id for event in await due(engine_apart, 2)] == [third, second]


async def test_what_one_drain_holds_another_passes_over(engine_apart: AsyncEngine) -> None:
    await accept(engine_apart, *(call_event() for _ in range(5)))
    async with engine_apart.begin() as one, engine_apart.begin() as other:
        held = await inbox.take_due(one, Drain.INBOX, 3)
        rest = await inbox.take_due(other, Drain.INBOX, 5)
    assert (len(held), len(rest)) == (3, 2)
    assert {event.event_id for event in held}.isdisjoint(event.event_id for event in rest)
    assert len(await due(engine_apart)) == 5


async def test_handed_over_events_come_back_only_after_their_grace(
    engine_apart: AsyncEngine,
) -> None:
    event = call_event()
    await accept(engine_apart, event)
    [taken] = await due(engine_apart)
    async with engine_apart.begin() as connection:
        await inbox.postpone(connection, [taken.event_id], 60.0)
    assert await due(engine_apart) == []
    query = text("SELECT due_at - now() BETWEEN '50s' AND '60s' FROM webhook_events")
    async with engine_apart.connect() as connection:
        assert await connection.scalar(query)
    await make_due(engine_apart, [taken.event_id], 0)
    assert await due(engine_apart) == [taken]


async def test_what_is_handled_by_id_or_by_key_is_not_handed_out_again(
    engine_apart: AsyncEngine,
) -> None:
    by_id, by_key, untouched = call_event(), payment_event(), payment_event()
    await accept(engine_apart, by_id, by_key, untouched)
    [taken] = [event for event in await due(engine_apart) if event.key == by_id.key]
    async with engine_apart.begin() as connection:
        await inbox.handled(connection, [taken.event_id])
        await inbox.handled_by_key(connection, Source.STRIPE, [by_key.key, by_id.key])
    assert [event.key for event in await due(engine_apart)] == [untouched.key]


async def test_handling_one_senders_key_leaves_the_other_senders(
    engine_apart: AsyncEngine,
) -> None:
    event = payment_event()
    await accept(engine_apart, event)
    async with engine_apart.begin() as connection:
        await inbox.handled_by_key(connection, Source.VAPI, [event.key])
    assert [event.key for event in await due(engine_apart)] == [event.key]


async def test_an_effect_that_is_rolled_back_leaves_its_event_waiting(
    engine_apart: AsyncEngine,
) -> None:
    event = payment_event()
    await accept(engine_apart, event)
    async with engine_apart.connect() as connection:
        await inbox.handled_by_key(connection, Source.STRIPE, [event.key])
        await connection.rollback()
    assert [event.key for event in await due(engine_apart)] == [event.key]


async def test_the_backlog_counts_what_waits_and_ages_what_is_due(
    engine_apart: AsyncEngine,
) -> None:
    async with engine_apart.connect() as connection:
        assert await inbox.backlog(connection) == inbox.Backlog(0, 0.0)
    await accept(engine_apart, call_event(due_in_seconds=3600))
    async with engine_apart.connect() as connection:
        assert await inbox.backlog(connection) == inbox.Backlog(1, 0.0)
    await accept(engine_apart, call_event(), call_event(status=EventStatus.IGNORED))
    [overdue] = await due(engine_apart)
    await make_due(engine_apart, [overdue.event_id], 120)
    async with engine_apart.connect() as connection:
        found = await inbox.backlog(connection)
    assert found.waiting == 2
    assert found.oldest_seconds == pytest.approx(120, abs=60)


async def test_an_ignored_event_does_not_hold_the_key_of_one_that_counts(
    engine_apart: AsyncEngine,
) -> None:
    """It was of another mode, or of a type that nobody knew: when it comes again, it counts."""
    counts = payment_event()
    ignored = replace(counts, status=EventStatus.IGNORED, subject="", body="{0}")
    assert await accept(engine_apart, ignored) == named(ignored)
    assert await accept(engine_apart, ignored) == set()
    assert await due(engine_apart) == []
    later = payment_event()
    assert await accept(engine_apart, later) == named(later)
    assert await accept(engine_apart, counts, later) == named(counts)
    assert await accept(engine_apart, counts) == set()
    assert await accept(engine_apart, ignored) == set()
    assert [one.key for one in await due(engine_apart)] == [later.key, counts.key]
    query = text("SELECT event_id, subject, body, status FROM webhook_events WHERE key = :key")
    async with engine_apart.connect() as connection:
        [first] = await connection.execute(query, {"key": later.key})
        [second] = await connection.execute(query, {"key": counts.key})
    assert second.event_id > first.event_id  # numbers follow the time of receipt
    assert (second.subject, second.body, second.status) == (counts.subject, "{}", "waiting")


@pytest.mark.parametrize("ignored_first", [True, False])
async def test_an_ignored_event_and_one_that_counts_may_come_together(
    engine_apart: AsyncEngine, *, ignored_first: bool
) -> None:
    counts = call_event()
    ignored = replace(counts, status=EventStatus.IGNORED)
    both = (ignored, counts) if ignored_first else (counts, ignored)
    assert await accept(engine_apart, *both) == named(counts)
    assert [one.key for one in await due(engine_apart)] == [counts.key]


async def test_an_event_that_is_worked_on_keeps_no_duplicate_waiting(
    engine_apart: AsyncEngine,
) -> None:
    """A drain holds it locked: whoever sends it again is answered at once."""
    one = call_event()
    await accept(engine_apart, one)
    async with engine_apart.begin() as drain:
        assert await inbox.take_due(drain, Drain.INBOX, 10)
        async with engine_apart.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '1ms'"))
            assert await inbox.accept(connection, [one]) == set()
