"""What was decided about adjustments before that was recorded with all else that people decide."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.adjustments import AdjustmentActivities, AdjustmentOpening, Ruling
from billing.adjustments import ApprovalVerdict, Decision, Proposal, Who
from billing.ledger.audit import Flaw
from billing.parking.parked_work import DecisionRecord, Verdict
from store import parking
from store.ledger import audit
from tests.support.factories import NOON, an_organization, unique
from tests.support.migrations import migrate_again
from tests.support.proposals import BOB, proposed
from workflows.adjust import SIGNALLED

APPROVED, REJECTED = ApprovalVerdict.APPROVED, ApprovalVerdict.REJECTED
SIGNAL = Who(None, SIGNALLED)
WEEK = timedelta(days=7)


async def settled(engine: AsyncEngine, proposal: Proposal, decision: Decision | None) -> str:
    """Let an adjustment be posted or not; answers with its workflow's id."""
    activities = AdjustmentActivities(engine)
    await activities.open_adjustment(AdjustmentOpening(proposal, NOON, NOON + WEEK))
    await activities.settle_adjustment(Ruling(proposal.adjustment_id, NOON, decision))
    return f"adjustment/{proposal.adjustment_id}"


async def discarded(engine: AsyncEngine, workflow_id: str, who_and_why: str) -> DecisionRecord:
    """What a process writes down when a person gives it up."""
    record = DecisionRecord(
        workflow_id, unique("run"), 1, Verdict.DISCARD, who_and_why, None, "approval", NOON
    )
    async with engine.begin() as connection:
        await parking.record(connection, [record])
    return record


async def all_decisions(engine: AsyncEngine) -> list[DecisionRecord]:
    async with engine.connect() as connection:
        found = await parking.page(connection, None, 1000)
    return sorted((replace(one, position=0) for one in found), key=lambda one: one.workflow_id)


async def as_before(engine: AsyncEngine) -> None:
    """Leave the database as the version before has left it."""
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("DELETE FROM decisions WHERE run_id = ''"))


async def flaws(engine: AsyncEngine, org_id: str) -> list[Flaw]:
    async with engine.connect() as connection:
        return await audit.of_organizations(connection, [org_id])


async def test_old_decisions_are_copied_once_as_new_ones_are_written(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart)
    by_bob = replace(BOB, name="Bob")
    for decision in (
        Decision(APPROVED, BOB, "looks right", NOON),
        Decision(REJECTED, by_bob, " not ours:\nto pay ", NOON + timedelta(microseconds=1)),
        Decision(APPROVED, SIGNAL, "bob: the API is down", NOON),
        Decision(REJECTED, SIGNAL, "x" * 2000, NOON),
    ):
        await settled(engine_apart, proposed(org_id), decision)
    at_once = Decision(REJECTED, SIGNAL, "bob: at once", NOON)
    for small in (None, at_once):
        await settled(engine_apart, proposed(org_id, needs_approval=False), small)
    written = await all_decisions(engine_apart)
    assert len(written) == 5

    await as_before(engine_apart)
    assert await all_decisions(engine_apart) == []
    assert await flaws(engine_apart, org_id) == []
    await migrate_again(engine_apart, "0016")
    assert await all_decisions(engine_apart) == written
    assert await flaws(engine_apart, org_id) == []

    await migrate_again(engine_apart, "0016")
    assert await all_decisions(engine_apart) == written


async def test_a_discard_that_stands_there_already_is_not_copied_as_a_rejection(
    engine_apart: AsyncEngine,
) -> None:
    org_id = await an_organization(engine_apart)
    given_up, approved, before = proposed(org_id), proposed(org_id), proposed(org_id)
    record = await discarded(engine_apart, f"adjustment/{given_up.adjustment_id}", "bob: no")
    in_time = await discarded(engine_apart, f"adjustment/{approved.adjustment_id}", "bob: no")
    await settled(engine_apart, given_up, Decision(REJECTED, SIGNAL, "bob: no", NOON))
    await settled(engine_apart, approved, Decision(APPROVED, SIGNAL, "bob: no", NOON))
    await settled(engine_apart, before, Decision(REJECTED, SIGNAL, "bob: no", NOON))
    written = await all_decisions(engine_apart)
    assert {(one.workflow_id, one.verdict) for one in written} == {
        (record.workflow_id, Verdict.DISCARD),
        (in_time.workflow_id, Verdict.DISCARD),
        (in_time.workflow_id, APPROVED),
        (f"adjustment/{before.adjustment_id}", REJECTED),
    }
    await as_before(engine_apart)
    await migrate_again(engine_apart, "0016")
    assert set(await all_decisions(engine_apart)) == set(written)
