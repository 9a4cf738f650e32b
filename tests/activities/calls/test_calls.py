"""What happens to calls in PostgreSQL, one transaction an activity."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.calls.calls import CallActivities
from activities.collection import collection
from activities.collection.collection import CollectionActivities
from billing.calls.call import CallBill, CallState, EndedCall
from billing.calls.call_record import DiscardedCall
from billing.collection import CollectedBatch
from billing.ledger.entry import Outcome, PostingCounts
from billing.messages.message import MessageState
from billing.platform_rules import PlatformRules
from tests.store.test_messages import seen
from tests.store.test_messages import settle as settle_message
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    as_api,
    balance_of,
    credit,
    ended_call,
    keys_of,
    register,
    unique,
)
from tests.support.recharged_payers import configure


async def bill(engine: AsyncEngine, call: EndedCall) -> CallBill:
    return await ActivityEnvironment().run(CallActivities(engine).bill_call, call)


async def collect(engine: AsyncEngine, org_id: str) -> CollectedBatch:
    return await ActivityEnvironment().run(
        CollectionActivities(engine, PlatformRules()).collect, org_id
    )


async def over_the_limit(engine: AsyncEngine, org_id: str, *seconds: float) -> list[EndedCall]:
    """Calls that wait for money, the oldest first."""
    assistant = await an_assistant(engine, org_id)
    ended = [
        ended_call(assistant, lasted, ended_at=NOON + timedelta(hours=hour))
        for hour, lasted in enumerate(seconds)
    ]
    for call in reversed(ended):
        assert (await bill(engine, call)).state is CallState.DEBT_LIMIT
    return ended


async def a_message_over_the_limit(engine: AsyncEngine, org_id: str) -> str:
    sender, sid = await a_sender(engine, org_id), a_sid()
    states = await settle_message(engine, sender, seen(sid, "sent"))
    assert states == {MessageState.DEBT_LIMIT}
    return sid


async def test_a_try_whose_answer_was_lost_is_repeated_without_a_second_debit(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    first, again = await bill(engine, call), await bill(engine, call)
    assert first.posting is not None
    assert again.posting is not None
    assert (again.state, again.posting.outcome) == (CallState.SETTLED, Outcome.DUPLICATE)
    assert again.posting.entry == first.posting.entry
    assert await balance_of(engine, org_id) == -56


async def test_waiting_calls_are_collected_oldest_first(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    ended = await over_the_limit(engine, org_id, 60, 60, 60)
    await credit(engine, org_id, 2 * 56)
    assert await collect(engine, org_id) == CollectedBatch(
        (ended[0].call_id, ended[1].call_id),
        more=False,
        postings=PostingCounts(applied=2, refused=1),
    )
    assert await keys_of(engine, org_id) == [f"call:{call.call_id}" for call in ended[:2]]
    assert await balance_of(engine, org_id) == 0


async def test_an_old_call_that_is_too_dear_does_not_hold_up_a_young_one(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    _, young = await over_the_limit(engine, org_id, 600, 60)
    await credit(engine, org_id, 100)
    assert (await collect(engine, org_id)).call_ids == (young.call_id,)
    assert await balance_of(engine, org_id) == 44


async def test_collecting_without_new_money_changes_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    await over_the_limit(engine, org_id, 60)
    assert await collect(engine, org_id) == CollectedBatch((), more=False)


async def test_a_call_that_found_its_owner_but_no_money_waits_for_another_reason(
    engine: AsyncEngine,
) -> None:
    org_id, assistant = await an_organization(engine, debt_limit_minor=0), unique("assistant")
    call = ended_call(assistant)
    assert (await bill(engine, call)).state is CallState.UNKNOWN_ASSISTANT
    await register(engine, assistant, org_id)
    assert (await collect(engine, org_id)).call_ids == (call.call_id,)
    assert (await collect(engine, org_id)).call_ids == ()
    await credit(engine, org_id, 56)
    assert (await collect(engine, org_id)).call_ids == (call.call_id,)
    assert await balance_of(engine, org_id) == 0


async def test_more_than_a_batch_is_collected_in_batches(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "WAITING_BATCH", 2)
    org_id = await an_organization(engine, debt_limit_minor=0)
    ended = await over_the_limit(engine, org_id, 60, 60, 60)
    await credit(engine, org_id, 1000)
    first, second = await collect(engine, org_id), await collect(engine, org_id)
    assert (len(first.call_ids), first.more) == (2, True)
    assert (second.call_ids, second.more) == ((ended[2].call_id,), False)


async def test_what_cannot_be_paid_is_not_asked_for_and_does_not_hide_what_can(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than a batch of calls are too dear, and older than the two that are not."""
    monkeypatch.setattr(collection, "WAITING_BATCH", 2)
    org_id = await an_organization(engine, debt_limit_minor=0)
    ended = await over_the_limit(engine, org_id, 600, 600, 600, 60, 600, 60)
    await credit(engine, org_id, 2 * 56 + 1)
    assert await collect(engine, org_id) == CollectedBatch(
        (ended[3].call_id, ended[5].call_id), more=True, postings=PostingCounts(applied=2)
    )
    assert await collect(engine, org_id) == CollectedBatch((), more=False)
    assert await balance_of(engine, org_id) == 1


async def test_a_message_that_can_be_paid_is_found_behind_calls_that_cannot(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "WAITING_BATCH", 2)
    org_id = await an_organization(engine, debt_limit_minor=0)
    await over_the_limit(engine, org_id, 600, 600, 600)
    sid = await a_message_over_the_limit(engine, org_id)
    await credit(engine, org_id, 100)
    assert (await collect(engine, org_id)).sids == (sid,)


@pytest.mark.parametrize("recharges", [True, False])
async def test_who_cannot_pay_all_that_waits_is_short_if_a_card_may_be_charged(
    engine: AsyncEngine, *, recharges: bool
) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    await over_the_limit(engine, org_id, 600, 60)
    await configure(engine, org_id, enabled=recharges)
    await credit(engine, org_id, 100)
    assert (await collect(engine, org_id)).is_short is recharges
    assert (await collect(engine, org_id)).is_short is recharges
    await credit(engine, org_id, 600)
    assert (await collect(engine, org_id)).call_ids
    await credit(engine, org_id, 10_000)
    assert not (await collect(engine, org_id)).is_short


async def test_a_correction_that_waits_is_collected_when_its_difference_can_be_paid(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, balance_minor=56, debt_limit_minor=0)
    call = ended_call(await an_assistant(engine, org_id))
    assert (await bill(engine, call)).state is CallState.SETTLED
    longer = as_api(ended_call(call.assistant_id, 90, call_id=call.call_id))
    assert (await bill(engine, longer)).state is CallState.DEBT_LIMIT
    await credit(engine, org_id, 83 - 56)
    assert (await collect(engine, org_id)).call_ids == (call.call_id,)
    assert await balance_of(engine, org_id) == 0


async def test_a_call_that_was_charged_in_the_meantime_is_not_discarded(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id))
    waiting = replace(call, call_id=unique("call"))
    await bill(engine, call)
    discard = CallActivities(engine).discard_call
    assert not await ActivityEnvironment().run(discard, DiscardedCall(call, "Ann: free"))
    assert await ActivityEnvironment().run(discard, DiscardedCall(waiting, "Ann: free"))
