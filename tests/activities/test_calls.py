"""What happens to calls in PostgreSQL, one transaction an activity."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities import collecting
from activities.calls import CallActivities
from activities.collecting import Collecting
from billing.call import CallBill, CallState, Collected, DiscardedCall, EndedCall
from billing.ledger import Outcome, Tally
from tests.factories import (
    NOON,
    an_assistant,
    an_organization,
    balance_of,
    credit,
    ended_call,
    keys_of,
    register,
    unique,
)


async def bill(engine: AsyncEngine, call: EndedCall) -> CallBill:
    return await ActivityEnvironment().run(CallActivities(engine).bill_call, call)


async def collect(engine: AsyncEngine, org_id: str) -> Collected:
    return await ActivityEnvironment().run(
        Collecting(engine, reverse_undelivered=True).collect, org_id
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
    assert await collect(engine, org_id) == Collected(
        (ended[0].call_id, ended[1].call_id), more=False, postings=Tally(applied=2, refused=1)
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
    assert await collect(engine, org_id) == Collected((), more=False, postings=Tally(refused=1))


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
    monkeypatch.setattr(collecting, "WAITING_BATCH", 2)
    org_id = await an_organization(engine, debt_limit_minor=0)
    ended = await over_the_limit(engine, org_id, 60, 60, 60)
    await credit(engine, org_id, 1000)
    first, second = await collect(engine, org_id), await collect(engine, org_id)
    assert (len(first.call_ids), first.more) == (2, True)
    assert (second.call_ids, second.more) == ((ended[2].call_id,), False)


async def test_a_full_batch_of_which_nothing_can_be_paid_is_not_asked_for_again(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "WAITING_BATCH", 2)
    org_id = await an_organization(engine, debt_limit_minor=0)
    await over_the_limit(engine, org_id, 60, 60, 60)
    assert await collect(engine, org_id) == Collected((), more=False, postings=Tally(refused=2))


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
