"""Webhooks are found, also those of long ago, without a look at all that came since."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import EndedCall
from billing.inbox.lookup import Received, ReceivedFilter
from billing.inbox.webhook_event import EventStatus, ObjectHint, Source, WebhookEvent
from billing.messages.message import SeenMessage
from store.calls import calls
from store.inbox import lookup
from store.messages import messages
from tests.support.factories import a_sid, an_assistant, an_organization, ended_call, unique
from tests.support.inbox_events import accept, report_of, thin_event_of
from tests.support.messages import callback_of, seen_message

OF_FEBRUARY = ReceivedFilter(
    received_after=datetime(2020, 2, 1, tzinfo=UTC),
    received_before=datetime(2020, 3, 1, tzinfo=UTC),
)


async def came(engine: AsyncEngine, moment: str, status: str = "handled") -> str:
    event = report_of(ended_call(unique("assistant")))
    await accept(engine, event)
    async with engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE webhook_events SET status = :status,"
                " received_at = CAST(CAST(:moment AS text) AS timestamptz) WHERE key = :key"
            ),
            {"moment": moment, "status": status, "key": event.key},
        )
    return event.key


async def found(
    engine: AsyncEngine, which: ReceivedFilter, before: int | None = None
) -> tuple[list[str], int | None]:
    async with engine.connect() as connection:
        page = await lookup.page(connection, which, before, 10)
    return [one.key for one in page.items], page.further


async def test_a_month_is_found_with_one_look_of_many_since(
    engine_apart: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "LOOKED_AT", 3)
    for _ in range(3):
        await came(engine_apart, "2020-01-10T00:00:00Z")
    handled = await came(engine_apart, "2020-02-10T00:00:00Z")
    ignored = await came(engine_apart, "2020-02-20T00:00:00Z", "ignored")
    for day in range(10, 20):
        await came(engine_apart, f"2020-03-{day}T00:00:00Z")
    assert await found(engine_apart, OF_FEBRUARY) == ([ignored, handled], None)


async def test_those_of_a_time_without_any_are_none(engine_apart: AsyncEngine) -> None:
    assert await found(engine_apart, OF_FEBRUARY) == ([], None)
    await came(engine_apart, "2020-03-10T00:00:00Z")
    assert await found(engine_apart, OF_FEBRUARY) == ([], None)


async def test_an_ignored_one_at_the_very_end_is_found(engine_apart: AsyncEngine) -> None:
    await came(engine_apart, "2020-02-10T00:00:00Z")
    last = await came(engine_apart, "2020-02-29T23:59:59Z", "ignored")
    keys, _ = await found(engine_apart, OF_FEBRUARY)
    assert keys[0] == last


async def test_all_that_is_asked_for_at_once_has_to_fit(engine_apart: AsyncEngine) -> None:
    key = await came(engine_apart, "2020-02-10T00:00:00Z")
    subject = key.partition(":")[0]
    for which, is_found in (
        (ReceivedFilter(key=key), True),
        (ReceivedFilter(key=key, source=Source.STRIPE), False),
        (ReceivedFilter(subject=subject, status=EventStatus.HANDLED), True),
        (ReceivedFilter(subject=subject, status=EventStatus.WAITING), False),
        (ReceivedFilter(subject=subject, source=Source.TWILIO), False),
        (ReceivedFilter(subject=subject, received_after=OF_FEBRUARY.received_before), False),
        (ReceivedFilter(status=EventStatus.WAITING), False),
    ):
        assert (await found(engine_apart, which))[0] == ([key] if is_found else []), which


async def told(engine: AsyncEngine, event: WebhookEvent) -> Received:
    async with engine.connect() as connection:
        page = await lookup.page(connection, ReceivedFilter(key=event.key), None, 1)
        return await lookup.read(connection, page.items[0].event_id)


async def test_a_call_that_a_flood_settled_names_the_drain(engine_apart: AsyncEngine) -> None:
    org_id = await an_organization(engine_apart, 1000)
    call: EndedCall = ended_call(await an_assistant(engine_apart, org_id), 60)
    await accept(engine_apart, event := report_of(call))
    before = await told(engine_apart, event)
    assert (before.state, before.workflow_id) == (None, f"call/{call.call_id}")
    async with engine_apart.begin() as connection:
        await calls.charge(connection, [call], "inbox/drain")
    after = await told(engine_apart, event)
    assert (after.call, after.state, after.workflow_id) == (call, "settled", "inbox/drain")
    assert [entry.key for entry in after.entries] == [f"call:{call.call_id}"]


async def test_every_callback_of_a_message_is_found_by_it_and_says_where_that_stands(
    engine_apart: AsyncEngine,
) -> None:
    heard: list[SeenMessage] = [seen_message(sid := a_sid(), "sent")]
    heard.append(seen_message(sid, "delivered"))
    callbacks = [callback_of(one) for one in heard]
    await accept(engine_apart, *callbacks)
    async with engine_apart.begin() as connection:
        await messages.observe(connection, heard)
    keys, further = await found(engine_apart, ReceivedFilter(subject=sid))
    assert (keys, further) == ([one.key for one in reversed(callbacks)], None)
    last = await told(engine_apart, callbacks[1])
    assert (last.message, last.workflow_id) == (heard[1], f"sms/{sid}")
    assert (last.state, last.entries) == ("pending", ())


@pytest.mark.parametrize(
    ("event", "workflow_id"),
    [
        (report_of(ended_call(unique("assistant"))), "call/{}"),
        (callback_of(seen_message(a_sid(), "sent")), "sms/{}"),
        (thin_event_of(ObjectHint("charge", unique("ch"), unique("evt"))), "payment/{}"),
    ],
)
async def test_one_that_nobody_can_read_is_shown_without_what_it_said(
    engine_apart: AsyncEngine, event: WebhookEvent, workflow_id: str
) -> None:
    """Operators are told of it by its key, and look it up."""
    await accept(engine_apart, event)
    async with engine_apart.begin() as connection:
        edit = text("""UPDATE webhook_events SET facts = '{"of": "another version"}'""")
        await connection.execute(edit)
    read = await told(engine_apart, event)
    assert (read.event.key, read.call, read.message, read.entries) == (event.key, None, None, ())
    assert read.workflow_id == workflow_id.format(event.subject)


async def test_one_whose_number_is_a_moment_out_of_order_is_found(
    engine_apart: AsyncEngine,
) -> None:
    """Two transactions at the same time: the one that began first can take the later number."""
    await came(engine_apart, "2020-03-01T00:00:00.1Z")
    last = await came(engine_apart, "2020-02-29T23:59:59.9Z")
    assert (await found(engine_apart, OF_FEBRUARY))[0] == [last]
