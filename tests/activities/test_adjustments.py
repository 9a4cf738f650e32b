"""Adjustments in the ledger: an activity that runs again, or five times at once, acts once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.adjustments import AdjustmentActivities, Opening, Ruling
from billing.adjustment import AdjustmentState, Decision, Verdict
from billing.errors import NotFound
from billing.ledger import Outcome, Posting
from tests.factories import NOON, an_organization, balance_of, keys_of, unique
from tests.proposals import ANN, BOB, proposed

LATER = NOON + timedelta(hours=1)
WEEK = timedelta(days=7)


async def test_an_activity_whose_answer_was_lost_answers_that_it_is_a_duplicate(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    activities = AdjustmentActivities(engine)
    proposal = proposed(org_id, needs_approval=False)
    opened = await activities.open_adjustment(Opening(proposal, NOON, NOON + WEEK))
    assert await activities.open_adjustment(Opening(proposal, LATER, LATER + WEEK)) == opened
    ruling = Ruling(proposal.adjustment_id, NOON)
    first, again = (
        await activities.settle_adjustment(ruling),
        await activities.settle_adjustment(replace(ruling, at=LATER)),
    )
    assert first == await activities.open_adjustment(Opening(proposal, LATER, LATER))
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
    await activities.open_adjustment(Opening(proposal, NOON, NOON + WEEK))
    rulings = [
        Ruling(proposal.adjustment_id, NOON, Decision(verdict, BOB, "said so", NOON))
        for verdict in (Verdict.APPROVED, Verdict.REJECTED) * 4
    ]
    answers = await asyncio.gather(*(activities.settle_adjustment(one) for one in rulings))
    assert len({answer.state for answer in answers}) == 1
    is_applied = answers[0].state is AdjustmentState.APPLIED
    outcomes = sorted(one.posting.outcome for one in answers if one.posting)
    assert outcomes == (["applied", *["duplicate"] * 7] if is_applied else [])
    assert await balance_of(engine, org_id) == (proposal.amount.amount_minor if is_applied else 0)


async def test_a_ruling_before_its_time_changes_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    activities = AdjustmentActivities(engine)
    proposal = replace(proposed(org_id), requested_by=replace(ANN, name="Ann"))
    opened = await activities.open_adjustment(Opening(proposal, NOON, NOON + WEEK))
    assert await activities.settle_adjustment(Ruling(proposal.adjustment_id, LATER)) == opened


async def test_a_ruling_about_nothing_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(NotFound, match="there is no adjustment"):
        await AdjustmentActivities(engine).settle_adjustment(Ruling(unique("adj"), NOON))
