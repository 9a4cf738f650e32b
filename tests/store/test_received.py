"""Webhooks of a time long ago are found without a look at all that came since."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.received import ReceivedFilter
from billing.webhook import EventStatus, Source
from store import received
from tests.factories import ended_call, unique
from tests.workflows.webhooks import accept, report_of

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
        page = await received.page(connection, which, before, 10)
    return [one.key for one in page.items], page.further


async def test_a_month_is_found_with_one_look_of_many_since(
    engine_apart: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "LOOKED_AT", 3)
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
