"""Adjustments in the ledger: an activity that runs again, or five times at once, acts once."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.adjustments import AdjustmentActivities, AdjustmentOpening, Ruling
from billing.adjustments import AdjustmentState, ApprovalVerdict, Decision, Who
from billing.errors import NotFound
from billing.ledger.entry import Outcome, Posting
from billing.platform_rules import PlatformRules
from store import adjustments
from tests.support.factories import NOON, an_organization, balance_of, keys_of, unique
from tests.support.parked_workflows import recorded
from tests.support.proposals import ANN, BOB, proposed

LATER = NOON + timedelta(hours=1)
WEEK = timedelta(days=7)


async def test_an_activity_whose_answer_was_lost_answers_that_it_is_a_duplicate(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    activities = AdjustmentActivities(engine)
    proposal = proposed(org_id, needs_approval=False)
    opened = await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
    assert (
        await activities.open_adjustment(AdjustmentOpening(proposal, LATER, LATER + WEEK)) == opened
    )
    ruling = Ruling(proposal.adjustment_id, NOON)
    first, again = (
        await activities.settle_adjustment(ruling),
        await activities.settle_adjustment(replace(ruling, at=LATER)),
    )
    assert first == await activities.open_adjustment(AdjustmentOpening(proposal, LATER, LATER))
    assert first.posting is not None
    assert first.posting.outcome is Outcome.APPLIED
    after = first.posting.balance_after
    assert again == replace(
        first, posting=Posting(Outcome.DUPLICATE, first.posting.entry, after, after)
    )
    assert await keys_of(engine, org_id) == [f"adjustment:{proposal.adjustment_id}"]


async def test_of_two_decisions_at_once_one_is_recorded_and_acted_on(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    activities = AdjustmentActivities(engine)
    proposal = proposed(org_id)
    await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
    rulings = [
        Ruling(proposal.adjustment_id, NOON, Decision(verdict, BOB, "said so", NOON))
        for verdict in (ApprovalVerdict.APPROVED, ApprovalVerdict.REJECTED) * 4
    ]
    answers = await asyncio.gather(*(activities.settle_adjustment(one) for one in rulings))
    assert len({answer.state for answer in answers}) == 1
    is_applied = answers[0].state is AdjustmentState.APPLIED
    outcomes = sorted(one.posting.outcome for one in answers if one.posting)
    assert outcomes == (["applied", *["duplicate"] * 7] if is_applied else [])
    assert await balance_of(engine, org_id) == (proposal.amount.amount_minor if is_applied else 0)


async def test_a_decision_is_recorded_once_among_all_decisions_with_who_why_and_when(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    activities = AdjustmentActivities(engine)
    proposal = proposed(org_id)
    await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
    by = replace(BOB, name="Bob")
    decision = Decision(ApprovalVerdict.APPROVED, by, "looks right", LATER)
    for _ in range(2):
        await activities.settle_adjustment(Ruling(proposal.adjustment_id, LATER, decision))
    [one] = await recorded(engine, f"adjustment/{proposal.adjustment_id}")
    assert (one.verdict, one.decided_at) == (ApprovalVerdict.APPROVED, LATER)
    assert one.who_and_why == "Bob, Bob's key (key key-b): looks right"
    assert (one.run_id, one.number, one.org_id, one.reason) == ("", 1, org_id, "approval")


async def test_what_nobody_had_to_decide_is_nobodys_decision(engine: AsyncEngine) -> None:
    activities = AdjustmentActivities(engine)
    small = proposed(await an_organization(engine), needs_approval=False)
    expired = proposed(await an_organization(engine))
    for proposal in (small, expired):
        await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
        await activities.settle_adjustment(Ruling(proposal.adjustment_id, NOON + WEEK))
        assert await recorded(engine, f"adjustment/{proposal.adjustment_id}") == []


async def test_money_and_both_records_of_a_decision_are_there_together_or_not_at_all(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart)
    activities = AdjustmentActivities(engine_apart)
    proposal = proposed(org_id)
    opened = await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
    workflow_id = f"adjustment/{proposal.adjustment_id}"

    by_herself = Decision(ApprovalVerdict.APPROVED, ANN, "looks right", NOON)
    with pytest.raises(IntegrityError, match="adjustments_four_eyes"):
        await activities.settle_adjustment(Ruling(proposal.adjustment_id, NOON, by_herself))
    assert await recorded(engine_apart, workflow_id) == []

    ruling = Ruling(proposal.adjustment_id, NOON, replace(by_herself, by=BOB))
    await execute(engine_apart, "ALTER TABLE decisions RENAME TO away")
    with pytest.raises(ProgrammingError, match="decisions"):
        await activities.settle_adjustment(ruling)
    await execute(engine_apart, "ALTER TABLE away RENAME TO decisions")
    assert await balance_of(engine_apart, org_id) == 0
    async with engine_apart.connect() as connection:
        assert await adjustments.read(connection, proposal.adjustment_id) == opened

    settled = await activities.settle_adjustment(ruling)
    assert settled.decision == ruling.decision
    assert await balance_of(engine_apart, org_id) == proposal.amount.amount_minor
    assert len(await recorded(engine_apart, workflow_id)) == 1


async def execute(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement))


async def test_a_ruling_before_its_time_changes_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    activities = AdjustmentActivities(engine)
    proposal = replace(proposed(org_id), requested_by=replace(ANN, name="Ann"))
    opened = await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
    assert await activities.settle_adjustment(Ruling(proposal.adjustment_id, LATER)) == opened


async def test_a_ruling_about_nothing_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(NotFound, match="there is no adjustment"):
        await AdjustmentActivities(engine).settle_adjustment(Ruling(unique("adj"), NOON))


async def test_of_what_is_asked_at_once_so_much_needs_nobody_as_one_may_do_alone_in_a_day(
    engine: AsyncEngine,
) -> None:
    activities = AdjustmentActivities(engine, PlatformRules(adjustment_day_approval_minor=1000))
    who = Who(unique("key"), "Ann's key")
    org_id = await an_organization(engine)

    async def opened(amount_minor: int, at: datetime = NOON) -> bool:
        proposal = proposed(org_id, amount_minor, needs_approval=False)
        opening = AdjustmentOpening(replace(proposal, requested_by=who), at, at + WEEK)
        return (await activities.open_adjustment(opening)).needs_approval

    needed = await asyncio.gather(*(opened(300) for _ in range(8)))
    assert sorted(needed) == [False] * 3 + [True] * 5
    assert not await opened(100)
    assert await opened(1)
    assert not await opened(1000, NOON + timedelta(days=1))
