"""The three success rates: what counts as good, what counts at all, and in which window."""

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import (
    END_OF_CALL,
    EventStatus,
    Source,
    WebhookEvent,
    call_event_key,
)
from billing.messages.message import MessageStatus, SeenMessage
from billing.monitoring import DAY, GRACE, HOUR, QUARTER, Rate, Rates
from store.calls import calls, discards
from store.database import clock
from store.inbox import inbox
from store.messages import messages
from store.monitoring import rates as monitoring
from store.schema import webhook_events
from tests.support.factories import (
    NOON,
    a_sid,
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    ended_call,
    move,
    unique,
)

NOTHING = Rate(0, 0)
JUST_OVER = NOON - GRACE - timedelta(seconds=1)


async def rates(engine: AsyncEngine, window: timedelta = HOUR, now: datetime = NOON) -> Rates:
    async with engine.connect() as connection:
        return await monitoring.rates(connection, now, window)


async def by_organization(engine: AsyncEngine, window: timedelta = HOUR) -> dict[str, Rates]:
    async with engine.connect() as connection:
        return (await monitoring.rates_of_all(connection, NOON, window))[1]


async def a_payer(engine: AsyncEngine, balance_minor: int = 10_000) -> tuple[str, str]:
    """An organisation and its assistant."""
    org_id = await an_organization(engine, balance_minor)
    return org_id, await an_assistant(engine, org_id)


def a_call(assistant: str | None = None, ended_at: datetime = JUST_OVER) -> EndedCall:
    return ended_call(assistant or unique("nobody's"), ended_at=ended_at)


def asked_for(call: EndedCall) -> EndedCall:
    """The same as Vapi's API tells of it."""
    return as_api(call)


def report_of(call: EndedCall, status: EventStatus = EventStatus.WAITING) -> WebhookEvent:
    key = call_event_key(call.call_id, END_OF_CALL)
    return WebhookEvent(Source.VAPI, key, END_OF_CALL, call.call_id, "{}", status, facts=call)


def callback_of(sid: str) -> WebhookEvent:
    seen = SeenMessage(sid, "AC1", MessageStatus.QUEUED)
    return WebhookEvent(Source.TWILIO, f"{sid}:queued", "queued", sid, "", facts=seen)


def a_payment() -> WebhookEvent:
    return WebhookEvent(Source.STRIPE, unique("evt"), "payment_intent.succeeded", "pi_1", "{}")


async def accept(
    engine: AsyncEngine, *events: WebhookEvent, at: datetime = JUST_OVER, handled: bool = False
) -> None:
    """Store webhooks, as if they had come at `at`."""
    keys = [event.key for event in events]
    async with engine.begin() as connection:
        await inbox.accept(connection, events)
        for source in {event.source for event in events} if handled else ():
            await inbox.handled_by_key(connection, source, keys)
        came = update(webhook_events).where(webhook_events.c.key.in_(keys))
        await connection.execute(came.values(received_at=at))


async def charge(engine: AsyncEngine, *ended: EndedCall) -> None:
    async with engine.begin() as connection:
        await calls.charge(connection, ended)


async def test_of_nothing_everything_went_well(engine_apart: AsyncEngine) -> None:
    found = await rates(engine_apart)
    assert found == Rates(NOTHING, NOTHING, NOTHING)
    assert found.billing.percent == Decimal(100)
    assert await by_organization(engine_apart) == {}


async def test_a_call_that_was_reported_and_charged_is_good_three_times(
    engine_apart: AsyncEngine,
) -> None:
    org_id, assistant = await a_payer(engine_apart)
    call = a_call(assistant)
    await accept(engine_apart, report_of(call), handled=True)
    await charge(engine_apart, call)
    everything = Rates(Rate(1, 1), Rate(1, 1), Rate(1, 1))
    assert await rates(engine_apart) == everything
    assert await by_organization(engine_apart) == {org_id: everything}


async def test_what_never_connected_and_is_nobody_s_is_no_failure(
    engine_apart: AsyncEngine,
) -> None:
    _, assistant = await a_payer(engine_apart)
    async with engine_apart.connect() as connection:
        ends = await clock.now(connection)
    refused = replace(a_call(ended_at=ends), started_at=None, ended_reason="customer-busy")
    await charge(engine_apart, a_call(assistant, ends), refused)
    found = await rates(engine_apart, now=ends + HOUR / 2)
    assert (found.billing, found.unowned) == (Rate(2, 2), 0)


# ---- delivery


async def test_a_call_that_vapi_was_asked_for_was_not_delivered(engine_apart: AsyncEngine) -> None:
    org_id, assistant = await a_payer(engine_apart)
    await charge(engine_apart, asked_for(a_call(assistant)), a_call(assistant))
    found = await rates(engine_apart)
    assert (found.delivery, found.billing) == (Rate(1, 2), Rate(2, 2))
    assert (await by_organization(engine_apart))[org_id].delivery == Rate(1, 2)


async def test_a_call_whose_report_came_was_delivered_though_vapi_was_asked_too(
    engine_apart: AsyncEngine,
) -> None:
    """Reports without a duration make us ask; another message about the call is no report."""
    _, assistant = await a_payer(engine_apart)
    reported, unreported = a_call(assistant), a_call(assistant)
    other = replace(report_of(unreported), key=f"{unreported.call_id}:status-update")
    await accept(engine_apart, report_of(reported), other)
    await charge(engine_apart, asked_for(reported), asked_for(unreported))
    assert (await rates(engine_apart)).delivery == Rate(1, 2)


async def test_a_report_that_temporal_took_while_the_database_was_away_was_delivered(
    engine_apart: AsyncEngine,
) -> None:
    """It is in no inbox."""
    _, assistant = await a_payer(engine_apart)
    await charge(engine_apart, a_call(assistant))
    assert (await rates(engine_apart)).delivery == Rate(1, 1)


# ---- billing


async def test_a_report_that_waits_in_the_inbox_is_a_call_that_is_not_billed(
    engine_apart: AsyncEngine,
) -> None:
    org_id, assistant = await a_payer(engine_apart)
    billed = a_call(assistant)
    await accept(engine_apart, report_of(billed), report_of(a_call(assistant)))
    await charge(engine_apart, billed)
    expected = Rates(delivery=Rate(2, 2), processing=Rate(0, 2), billing=Rate(1, 2))
    assert await rates(engine_apart) == expected
    assert await by_organization(engine_apart) == {org_id: expected}


async def test_a_waiting_report_belongs_to_who_registered_the_number_if_nobody_the_assistant(
    engine_apart: AsyncEngine,
) -> None:
    org_id, number = await a_payer(engine_apart)
    call = replace(a_call(), phone_number_id=number)
    await accept(engine_apart, report_of(call))
    assert (await by_organization(engine_apart))[org_id].billing == Rate(0, 1)


async def test_a_waiting_report_that_does_not_say_when_the_call_ended_is_no_call_yet(
    engine_apart: AsyncEngine,
) -> None:
    call = replace(a_call(), ended_at=None)
    await accept(engine_apart, report_of(call))
    found = await rates(engine_apart)
    assert (found.billing, found.processing) == (NOTHING, Rate(0, 1))


async def test_a_call_that_waits_for_the_customers_money_is_left_out_of_billing(
    engine_apart: AsyncEngine,
) -> None:
    org_id, assistant = await a_payer(engine_apart, balance_minor=0)
    nine = [a_call(assistant) for _ in range(9)]
    await charge(engine_apart, *nine)
    assert await balance_of(engine_apart, org_id) == -8 * 56
    found = await rates(engine_apart)
    assert (found.billing, found.delivery) == (Rate(8, 8), Rate(9, 9))


async def test_a_call_that_a_person_gave_up_is_left_out_of_billing(
    engine_apart: AsyncEngine,
) -> None:
    call = a_call()
    async with engine_apart.begin() as connection:
        await discards.discard(connection, call, "ana: a test call")
    found = await rates(engine_apart)
    assert (found.billing, found.delivery) == (NOTHING, Rate(1, 1))


async def test_a_call_of_nobodys_is_not_billed_and_counts_in_the_total_only(
    engine_apart: AsyncEngine,
) -> None:
    call = a_call()
    await accept(engine_apart, report_of(call), handled=True)
    await charge(engine_apart, call)
    whole = Rates(Rate(1, 1), Rate(1, 1), Rate(0, 1), unowned=1)
    assert await rates(engine_apart) == whole
    assert await by_organization(engine_apart) == {}
    async with engine_apart.connect() as connection:
        assert await monitoring.rates_of_all(connection, NOON, HOUR) == (whole, {})


# ---- processing


async def test_what_is_ignored_was_no_work(engine_apart: AsyncEngine) -> None:
    await accept(engine_apart, report_of(a_call(), EventStatus.IGNORED))
    assert await rates(engine_apart) == Rates(NOTHING, NOTHING, NOTHING)


async def test_payments_and_messages_are_work_and_payments_are_in_the_total_only(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart)
    sid = a_sid()
    callback = callback_of(sid)
    await accept(engine_apart, a_payment(), callback, handled=True)
    await accept(engine_apart, a_payment())
    assert isinstance(callback.facts, SeenMessage)
    async with engine_apart.begin() as connection:
        await messages.observe(connection, [callback.facts])
        await connection.execute(text("UPDATE messages SET org_id = :org"), {"org": org_id})
    assert (await rates(engine_apart)).processing == Rate(2, 3)
    assert await by_organization(engine_apart) == {org_id: Rates(NOTHING, Rate(1, 1), NOTHING)}


# ---- windows


@pytest.mark.parametrize("window", [QUARTER, HOUR, DAY])
async def test_a_window_begins_with_its_first_instant_and_ends_before_the_grace(
    engine_apart: AsyncEngine, window: timedelta
) -> None:
    """What has just come is neither good nor bad yet, and what was before is over."""
    _, assistant = await a_payer(engine_apart)
    instant = timedelta(microseconds=1)
    for moment in (NOON - window - instant, NOON - window, NOON - GRACE - instant, NOON - GRACE):
        charged, waiting = (a_call(assistant, ended_at=moment) for _ in range(2))
        await accept(engine_apart, report_of(charged), report_of(waiting), at=moment)
        await charge(engine_apart, charged)
    found = await rates(engine_apart, window)
    assert found == Rates(delivery=Rate(4, 4), processing=Rate(0, 4), billing=Rate(2, 4))


async def test_a_call_whose_end_is_unknown_is_in_no_window(engine_apart: AsyncEngine) -> None:
    _, assistant = await a_payer(engine_apart)
    await charge(engine_apart, replace(a_call(assistant), ended_at=None))
    assert (await rates(engine_apart, DAY)).billing == NOTHING


async def test_organizations_are_told_apart_and_together_they_are_the_total(
    engine_apart: AsyncEngine,
) -> None:
    acme, of_acme = await a_payer(engine_apart)
    bolt, of_bolt = await a_payer(engine_apart)
    charged = [a_call(of_acme) for _ in range(3)] + [a_call(of_bolt)]
    await charge(engine_apart, *charged)
    await accept(engine_apart, report_of(a_call(of_bolt)))
    found = await by_organization(engine_apart)
    assert {org_id: one.billing for org_id, one in found.items()} == {
        acme: Rate(3, 3),
        bolt: Rate(1, 2),
    }
    assert (await rates(engine_apart)).billing == Rate(4, 5)


async def test_a_waiting_report_belongs_to_who_had_the_assistant_when_the_call_began(
    engine_apart: AsyncEngine,
) -> None:
    org_id, assistant = await a_payer(engine_apart)
    await move(engine_apart, assistant, org_id, await an_organization(engine_apart))
    await accept(engine_apart, report_of(a_call(assistant)))
    found = await by_organization(engine_apart)
    assert {one: rate.billing for one, rate in found.items()} == {org_id: Rate(0, 1)}
