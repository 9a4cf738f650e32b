"""What is not kept for ever is removed in small batches, and nothing else is."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.inbox.retention import EmptiedBatch, Sweep, next_sweep
from billing.inbox.webhook_event import EventStatus, Source, WebhookEvent
from store import idempotency
from store.idempotency import Answer
from store.inbox import inbox, lookup, retention
from store.ledger import ledger
from store.organizations import api_keys
from tests.support.factories import an_organization, credit_of, ended_call, unique
from tests.support.inbox_events import accept, report_of

DAYS = 30
PAYMENT = {
    "id": "pi_1", "object": "payment_intent", "amount": 2500, "currency": "gbp",
    "customer": "cus_1", "receipt_email": "jo@example.com",
    "shipping": {"name": "Jo"}, "metadata": {"org_id": "acme", "ordered_by": "Jo"},
}  # fmt: skip


def a_report(status: EventStatus = EventStatus.WAITING) -> WebhookEvent:
    said = json.dumps({"transcript": "My name is Jo"})
    return replace(report_of(ended_call(unique("assistant"))), body=said, status=status)


def told_by_stripe(body: str) -> WebhookEvent:
    return WebhookEvent(
        Source.STRIPE, unique("evt"), "payment_intent.succeeded", unique("pi"), body
    )


async def arrived(
    engine: AsyncEngine, *events: WebhookEvent, days_ago: int = 0, waits: bool = False
) -> None:
    """Let events come that long ago; unless they wait, they are done with."""
    await accept(engine, *events)
    keys = [event.key for event in events]
    async with engine.begin() as connection:
        if not waits:
            for source in Source:
                await inbox.handled_by_key(connection, source, keys)
        await connection.execute(
            text(
                "UPDATE webhook_events SET received_at = now() - make_interval(days => :days)"
                " WHERE key = ANY(:keys)"
            ),
            {"days": days_ago, "keys": keys},
        )


async def emptied(engine: AsyncEngine, after: int = 0, limit: int = 1000) -> EmptiedBatch:
    async with engine.begin() as connection:
        return await retention.empty_bodies(connection, after, DAYS, limit)


async def rows(engine: AsyncEngine) -> Sequence[Any]:
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT * FROM webhook_events ORDER BY event_id"))
        return found.all()


async def test_what_was_said_is_removed_and_that_it_was_heard_stays(
    engine_apart: AsyncEngine,
) -> None:
    old, young = a_report(), a_report()
    await arrived(engine_apart, old, days_ago=31)
    await arrived(engine_apart, young, days_ago=29)
    before, _ = await rows(engine_apart)
    assert (await emptied(engine_apart)).emptied == 1
    after, other = await rows(engine_apart)
    assert (after.body, other.body) == ("", young.body)
    assert (after.body_removed_at is None, other.body_removed_at) == (False, None)
    same = {"body": "", "body_removed_at": after.body_removed_at}
    assert after._asdict() == {**before._asdict(), **same}


async def test_a_report_that_comes_again_after_that_is_still_a_duplicate(
    engine_apart: AsyncEngine,
) -> None:
    heard = a_report()
    await arrived(engine_apart, heard, days_ago=31)
    await emptied(engine_apart)
    async with engine_apart.begin() as connection:
        assert await inbox.accept(connection, [heard]) == set()
    [row] = await rows(engine_apart)
    assert row.body == ""


async def test_what_waits_is_never_touched_and_settles_from_its_facts_after(
    engine_apart: AsyncEngine,
) -> None:
    await arrived(engine_apart, waiting := a_report(), days_ago=400, waits=True)
    batch = await emptied(engine_apart)
    [row] = await rows(engine_apart)
    assert (row.body, row.body_removed_at) == (waiting.body, None)
    assert (batch.emptied, batch.left, batch.first_left) == (0, 1, row.event_id)


async def test_what_is_ignored_goes_as_well(engine_apart: AsyncEngine) -> None:
    await arrived(engine_apart, a_report(EventStatus.IGNORED), days_ago=31, waits=True)
    assert (await emptied(engine_apart)).emptied == 1


async def test_of_what_stripe_told_only_ids_and_amounts_stay(engine_apart: AsyncEngine) -> None:
    body = json.dumps({"data": {"object": PAYMENT}, "request": {"id": "req_1"}})
    await arrived(engine_apart, told_by_stripe(body), days_ago=31)
    await emptied(engine_apart)
    [row] = await rows(engine_apart)
    assert json.loads(row.body) == {
        "data": {
            "object": {
                "id": "pi_1", "amount": 2500, "currency": "gbp", "customer": "cus_1",
                "metadata": {"org_id": "acme"},
            }
        }
    }  # fmt: skip


async def test_of_a_thin_event_it_stays_which_object_it_names(engine_apart: AsyncEngine) -> None:
    """The audit and who looks the event up ask for the dispute or refund that it is about."""
    named = {"id": "du_1", "type": "dispute", "url": "/v1/disputes/du_1", "of": {"name": "Jo"}}
    told = replace(
        told_by_stripe(json.dumps({"related_object": named})), type="v1.charge.dispute.closed"
    )
    await arrived(engine_apart, told, days_ago=31)
    org_id = await an_organization(engine_apart)
    async with engine_apart.begin() as connection:
        await ledger.post(connection, [credit_of(org_id, 5, "dispute:du_1")])
    await emptied(engine_apart)
    [row] = await rows(engine_apart)
    assert json.loads(row.body) == {
        "data": {"object": {"metadata": {}}},
        "related_object": {"id": "du_1", "type": "dispute"},
    }
    async with engine_apart.connect() as connection:
        read = await lookup.read(connection, row.event_id)
    assert [entry.key for entry in read.entries] == ["dispute:du_1"]


async def test_a_customer_who_is_told_of_in_full_is_not_kept(engine_apart: AsyncEngine) -> None:
    expanded = {**PAYMENT, "customer": {"id": "cus_1", "name": "Jo"}, "metadata": "Jo"}
    await arrived(
        engine_apart, told_by_stripe(json.dumps({"data": {"object": expanded}})), days_ago=31
    )
    await emptied(engine_apart)
    [row] = await rows(engine_apart)
    assert "Jo" not in row.body


@pytest.mark.parametrize(
    "body", [" ", "no JSON", "[]", "{}", '{"data": 1}', '{"data": {"object": "\\u0000"}}',
             '{"related_object": ["Jo"]}', '{"data": {"object": [1]}}',
             '{"data": {"object": "Jo"}}'],
)  # fmt: skip
async def test_what_cannot_be_read_is_removed_whole(engine_apart: AsyncEngine, body: str) -> None:
    await arrived(engine_apart, told_by_stripe(body), days_ago=31)
    assert (await emptied(engine_apart)).emptied == 1
    [row] = await rows(engine_apart)
    assert row.body in {"", '{"data": {"object": {"metadata": {}}}}'}


async def test_an_event_that_somebody_works_on_is_passed_over_and_found_later(
    engine_apart: AsyncEngine,
) -> None:
    await arrived(engine_apart, *(a_report() for _ in range(3)), days_ago=31)
    [_, second, _] = await rows(engine_apart)
    async with engine_apart.begin() as connection:
        await inbox.lock(connection, [second.event_id])
        batch = await emptied(engine_apart)
    assert (batch.emptied, batch.left, batch.first_left) == (2, 1, second.event_id)
    clean = Sweep().after(batch).clean
    assert (await emptied(engine_apart, clean)).emptied == 1


async def test_a_sweep_goes_on_in_batches_and_ends_at_what_is_young(
    engine_apart: AsyncEngine,
) -> None:
    await arrived(engine_apart, *(a_report() for _ in range(5)), days_ago=31)
    await arrived(engine_apart, a_report())
    sweep, batches = Sweep(), 0
    while sweep.more:
        sweep = sweep.after(await emptied(engine_apart, sweep.reached, limit=2))
        batches += 1
    assert (sweep.emptied, sweep.looked_at, batches) == (5, 5, 3)
    [*_, last_old, _] = await rows(engine_apart)
    assert sweep.clean == last_old.event_id
    assert await emptied(engine_apart, sweep.clean) == EmptiedBatch(sweep.clean, 0, 0)


def test_the_next_sweep_begins_before_what_was_left() -> None:
    swept = Sweep()
    for batch in (
        EmptiedBatch(last=1000, old=1000, emptied=1000, more=True),
        EmptiedBatch(last=2000, old=1000, emptied=999, left=1, first_left=1500, more=True),
        EmptiedBatch(last=3000, old=900, emptied=900),
    ):
        swept = swept.after(batch)
    assert (swept.reached, swept.clean, swept.emptied, swept.left) == (3000, 1499, 2899, 1)
    assert next_sweep(swept, whole=False) == Sweep(reached=1499, clean=1499)
    assert next_sweep(swept, whole=True) == next_sweep(None, whole=False) == Sweep()


async def test_requests_are_forgotten_a_month_after_they_were_answered(
    engine_apart: AsyncEngine,
) -> None:
    async with engine_apart.begin() as connection:
        caller = (await api_keys.create(connection, "ann", "secret", None, "Ann")).key_id
        for key in ("old", "young", "abandoned", "under way"):
            await idempotency.claim(connection, caller, key, "digest", timedelta(minutes=1))
        for key in ("old", "young"):
            await idempotency.give_back(connection, caller, key, Answer(200, "{}"))
        await connection.execute(
            text(
                "UPDATE idempotency_keys SET claimed_until = now() - interval '31 days'"
                " WHERE key IN ('old', 'abandoned')"
            )
        )
    async with engine_apart.begin() as connection:
        [first] = await retention.old_keys(connection, DAYS, ("", ""), 1)
        [second] = await retention.old_keys(connection, DAYS, first, 1000)
        assert [first[1], second[1]] == ["abandoned", "old"]
        await retention.forget_keys(connection, [first, second])
        left = await connection.execute(text("SELECT key FROM idempotency_keys ORDER BY key"))
        assert [row.key for row in left] == ["under way", "young"]
