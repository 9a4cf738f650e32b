"""The batch lane: everything due is settled or handed over, and nothing holds up the rest."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities import inbox as inbox_module
from activities.inbox import InboxActivities
from billing.call import CallState, EndedCall
from billing.ledger import Tally
from billing.webhook import (
    END_OF_CALL,
    Drained,
    PaymentHint,
    Source,
    WebhookEvent,
    call_event_key,
)
from store import calls, inbox
from tests.factories import an_assistant, an_organization, balance_of, ended_call, unique


def report_of(call: EndedCall) -> WebhookEvent:
    key = call_event_key(call.call_id, END_OF_CALL)
    return WebhookEvent(Source.VAPI, key, END_OF_CALL, call.call_id, "{}", call=call)


def bad(call: EndedCall) -> EndedCall:
    """A call of two centuries: its seconds fit into no column, so PostgreSQL refuses its batch."""
    return replace(call, started_at=datetime(2021, 1, 1, tzinfo=UTC),
                   ended_at=datetime(2199, 1, 1, tzinfo=UTC))  # fmt: skip


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
    assert await drain(engine_apart) == Drained(settled=1100, postings=Tally(applied=1100))
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
        record = await calls.read(connection, call.call_id)
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
        1, (unknown, endless), (PaymentHint("pi_1", "evt_1"),), postings=Tally(applied=1)
    )
    assert await waiting(engine_apart) == 3
    assert await drain(engine_apart) == Drained(0)
    async with engine_apart.connect() as connection:
        assert (await calls.read(connection, unknown.call_id)).state is (
            CallState.UNKNOWN_ASSISTANT
        )


async def test_a_call_that_a_person_gave_up_is_done_with(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    call = ended_call(assistant)
    async with engine_apart.begin() as connection:
        await calls.discard(connection, call, "Ann: a test call")
    await accept(engine_apart, [report_of(call)])
    assert await drain(engine_apart) == Drained(1)
    assert await balance_of(engine_apart, "rich") == 1_000_000


async def test_one_bad_row_sends_its_batch_to_workflows_and_costs_the_others_nothing(
    engine_apart: AsyncEngine, assistant: str
) -> None:
    good = [ended_call(assistant) for _ in range(3)]
    poison = bad(ended_call(assistant))
    await accept(engine_apart, (report_of(call) for call in (good[0], poison, *good[1:])))
    drained = await drain(engine_apart)
    assert (drained.settled, set(drained.calls)) == (0, {poison, *good})
    await accept(engine_apart, [report_of(ended_call(assistant))])
    assert await drain(engine_apart) == Drained(1, postings=Tally(applied=1))


async def test_a_drain_hands_over_before_its_answer_grows_large(
    engine_apart: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_module, "BATCH", 10)
    monkeypatch.setattr(inbox_module, "MOST_EXCEPTIONS", 20)
    monkeypatch.setattr(inbox_module, "POSTPONED_SECONDS", 0.5)
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
    monkeypatch.setattr(inbox_module, "MOST_EXCEPTIONS", 5)
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
