"""An adjustment's process: what operators see, who decides without a key, and when it ends."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from billing.adjustments import Adjustment, AdjustmentState, ApprovalVerdict, Proposal, Who, Word
from billing.ledger.entry import Outcome, Posting
from billing.parking.parked_work import Verdict
from store import adjustments
from store.schema import alerts
from tests.support import parked_workflows
from tests.support.factories import an_organization, balance_of, keys_of
from tests.support.parked_workflows import (
    attributes,
    discard,
    ended,
    page,
    reprocess,
    tries,
    until_parked,
)
from tests.support.proposals import ANN, BIG, BOB, proposed
from tests.workflows.conftest import SkippingWorld
from workflows import adjust
from workflows.adjust import SIGNALLED, Adjust

Process = WorkflowHandle[Adjust, Adjustment]
# A sequence is not set back with the transaction that it made fail.
FAILS_FIVE_TIMES = (
    "CREATE SEQUENCE failures",
    """CREATE FUNCTION fail_at_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('failures') <= 5 THEN RAISE 'not now'; END IF; RETURN NEW; END $$""",
    """CREATE TRIGGER fails_at_first BEFORE UPDATE ON adjustments FOR EACH ROW
        WHEN (NEW.adjustment_id = '{}') EXECUTE FUNCTION fail_at_first()""",
)


async def start(temporal: Client, proposal: Proposal, approved_by: str | None = None) -> Process:
    """Start it as the API does, or with somebody's signal that approves it."""
    options = adjust.start_options(proposal)
    if approved_by is None:
        return await temporal.start_workflow(Adjust.run, proposal, **options)
    return await temporal.start_workflow(
        Adjust.run, proposal, start_signal="approve", start_signal_args=[approved_by], **options
    )


async def waiting(temporal: Client, engine: AsyncEngine) -> tuple[str, Process]:
    org_id = await an_organization(engine)
    handle = await start(temporal, proposed(org_id))
    await until_parked(handle, "approval")
    return org_id, handle


async def say(handle: Process, verdict: str, by: Who = BOB) -> Adjustment:
    """Decide as the API does. By name: the SDK's types lose what a named update answers."""
    answer: Adjustment = await handle.execute_update(
        verdict, Word(by, "looks right"), result_type=Adjustment
    )
    return answer


async def told(engine: AsyncEngine, adjustment_id: str) -> list[str]:
    """The levels of the alerts about an adjustment, in order."""
    query = select(alerts.c.level).where(alerts.c.workflow_id == f"adjustment/{adjustment_id}")
    async with engine.connect() as connection:
        return list(await connection.scalars(query.order_by(alerts.c.alert_id)))


async def recorded(engine: AsyncEngine, adjustment_id: str) -> Adjustment:
    async with engine.connect() as connection:
        return await adjustments.read(connection, adjustment_id)


async def test_a_big_adjustment_parks_and_says_what_is_asked_by_whom_and_how_to_decide(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle = await waiting(worker, engine)
    assert await attributes(handle) == ("parked", "approval", org_id, BIG)
    written = await page(handle)
    assert "Ann's key (key key-a) asks for an adjustment that gives 250.00 GBP" in written
    assert "“ticket 4711”" in written
    assert "`POST /v1/adjustments/{adjustment_id}/approve`, or `…/reject`" in written
    assert f"--workflow-id {handle.id} --name approve" in written
    assert f"--workflow-id {handle.id} --name reject" in written
    assert "reprocess" not in written
    assert await told(engine, handle.id.removeprefix("adjustment/")) == ["medium"]


async def test_an_approved_one_settles_and_is_what_the_row_says(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle = await waiting(worker, engine)
    approved = await say(handle, "approve")
    assert await ended(handle) == approved
    assert await recorded(engine, approved.adjustment_id) == approved
    assert approved.decision is not None
    assert (approved.decision.verdict, approved.decision.by) == (ApprovalVerdict.APPROVED, BOB)
    assert await attributes(handle) == ("settled", None, org_id, BIG)
    assert await balance_of(engine, org_id) == BIG
    assert await told(engine, approved.adjustment_id) == ["medium"]


async def test_the_key_that_asked_cannot_approve(worker: Client, engine: AsyncEngine) -> None:
    org_id, handle = await waiting(worker, engine)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await say(handle, "approve", Who(ANN.key_id, "another label", "Bob"))
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "same_operator"
    assert (await attributes(handle))[0] == "parked"
    assert (await say(handle, "reject", ANN)).state is AdjustmentState.REJECTED
    assert await balance_of(engine, org_id) == 0


async def test_postgresql_itself_takes_no_approval_by_the_key_that_asked(
    worker: Client, engine: AsyncEngine
) -> None:
    _, handle = await waiting(worker, engine)
    adjustment_id = handle.id.removeprefix("adjustment/")
    statement = text(
        "UPDATE adjustments SET state = 'applied', decision = CAST(:decision AS jsonb)"
        " WHERE adjustment_id = :adjustment_id"
    )
    for decision in (None, '{"by": {"key_id": "key-a"}}'):
        values = {"decision": decision, "adjustment_id": adjustment_id}
        with pytest.raises(IntegrityError, match="adjustments_four_eyes"):
            async with engine.begin() as connection:
                await connection.execute(statement, values)
    await say(handle, "reject")


async def test_an_approval_by_signal_posts_is_recorded_as_such_and_is_told(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle = await waiting(worker, engine)
    await handle.signal(Adjust.approve, "bob: the API is down")
    approved = await ended(handle)
    assert approved.decision is not None
    assert approved.decision.by == Who(None, SIGNALLED)
    assert approved.decision.note == "bob: the API is down"
    assert await balance_of(engine, org_id) == BIG
    assert await told(engine, approved.adjustment_id) == ["medium", "high"]
    [written] = await parked_workflows.recorded(engine, handle.id)
    assert (written.verdict, written.who_and_why) == (
        ApprovalVerdict.APPROVED, "a signal in Temporal: bob: the API is down",
    )  # fmt: skip
    assert (written.org_id, written.reason) == (org_id, "approval")
    assert written.decided_at == approved.decision.at


async def test_what_postgresql_would_not_take_is_left_out_of_an_approval(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle = await waiting(worker, engine)
    await handle.signal(Adjust.approve, "bob\x00: the API is down")
    approved = await ended(handle)
    assert approved.decision is not None
    assert approved.decision.note == "bob: the API is down"
    assert await balance_of(engine, org_id) == BIG


async def test_a_signal_that_does_not_say_who_decides_nothing(
    worker: Client, engine: AsyncEngine
) -> None:
    _, handle = await waiting(worker, engine)
    await handle.signal(Adjust.approve, "  ")
    assert str(await reprocess(handle, "Ann: just looking")).startswith("parked: approval")
    await handle.signal(Adjust.reject, "bob: no")
    assert (await ended(handle)).state is AdjustmentState.REJECTED
    assert await attributes(handle) != ("parked", "approval", None, None)


async def test_to_discard_is_to_reject_and_is_recorded_once(
    worker: Client, engine: AsyncEngine
) -> None:
    org_id, handle = await waiting(worker, engine)
    assert (await discard(handle, "bob: a mistake")).state == "discarded"
    rejected = await ended(handle)
    assert rejected.decision is not None
    assert (rejected.state, rejected.decision.note) == ("rejected", "bob: a mistake")
    assert (await attributes(handle))[:2] == ("discarded", None)
    assert await keys_of(engine, org_id) == []
    [written] = await parked_workflows.recorded(engine, handle.id)
    assert (written.verdict, written.who_and_why) == (Verdict.DISCARD, "bob: a mistake")


async def test_what_was_reprocessed_and_then_rejected_in_the_same_words_is_recorded_twice(
    worker: Client, engine: AsyncEngine
) -> None:
    _, handle = await waiting(worker, engine)
    await reprocess(handle, "bob: no")
    await handle.signal(Adjust.reject, "bob: no")
    await ended(handle)
    assert [one.verdict for one in await parked_workflows.recorded(engine, handle.id)] == [
        Verdict.REPROCESS, ApprovalVerdict.REJECTED,
    ]  # fmt: skip


async def test_two_approvals_at_once_are_one(worker: Client, engine: AsyncEngine) -> None:
    org_id, handle = await waiting(worker, engine)
    others = [Who(f"key-{number}", "one of five") for number in range(5)]
    answers = await asyncio.gather(*(say(handle, "approve", other) for other in others))
    assert all(answer == answers[0] for answer in answers)
    assert await keys_of(engine, org_id) == [f"adjustment:{answers[0].adjustment_id}"]
    assert await balance_of(engine, org_id) == BIG


async def test_a_second_run_posts_nothing_and_answers_with_the_entry_of_the_first(
    worker: Client, engine: AsyncEngine
) -> None:
    """Temporal forgets an id when retention is over; the row and the ledger's key do not."""
    org_id = await an_organization(engine)
    proposal = proposed(org_id, 100, needs_approval=False)
    first = await ended(await start(worker, proposal))
    again = await ended(await start(worker, proposal))
    assert first.posting is not None
    assert first.posting.outcome is Outcome.APPLIED
    after = first.posting.balance_after
    assert again == replace(
        first, posting=Posting(Outcome.DUPLICATE, first.posting.entry, after, after)
    )
    assert await keys_of(engine, org_id) == [f"adjustment:{proposal.adjustment_id}"]
    assert await balance_of(engine, org_id) == 100


# ---- time passes


async def test_what_nobody_decides_expires_after_a_week_and_posts_nothing(
    skipping: SkippingWorld,
) -> None:
    org_id = await an_organization(skipping.engine)
    handle = await start(skipping.temporal, proposed(org_id))
    expired = await ended(handle)
    assert (expired.state, expired.decision, expired.posting) == ("expired", None, None)
    assert expired.expires_at - expired.requested_at == timedelta(days=7)
    assert expired.settled_at is not None
    assert timedelta(0) <= expired.settled_at - expired.expires_at < timedelta(minutes=1)
    assert await attributes(handle) == ("discarded", None, org_id, BIG)
    assert await tries(handle, "settle_adjustment") == 1
    assert await keys_of(skipping.engine, org_id) == []
    assert await balance_of(skipping.engine, org_id) == 0
    assert await recorded(skipping.engine, expired.adjustment_id) == expired


async def test_what_has_expired_stays_so_however_it_is_asked_again(
    skipping: SkippingWorld,
) -> None:
    org_id = await an_organization(skipping.engine)
    proposal = proposed(org_id)
    expired = await ended(await start(skipping.temporal, proposal))
    assert await ended(await start(skipping.temporal, proposal)) == expired
    late = await start(skipping.temporal, proposal, "bob: better late than never")
    assert await ended(late) == expired
    assert await balance_of(skipping.engine, org_id) == 0


async def test_a_lost_process_that_is_started_again_expires_when_the_first_would_have(
    skipping: SkippingWorld,
) -> None:
    org_id = await an_organization(skipping.engine)
    proposal = proposed(org_id)
    async with skipping.engine.begin() as connection:
        now: datetime = (await connection.execute(select(func.now()))).scalar_one()
        tomorrow = now + timedelta(days=1)
        await adjustments.create(connection, proposal, now - timedelta(days=6), tomorrow)
    expired = await ended(await start(skipping.temporal, proposal))
    assert (expired.state, expired.expires_at) == (AdjustmentState.EXPIRED, tomorrow)
    assert expired.settled_at is not None
    assert timedelta(0) <= expired.settled_at - tomorrow < timedelta(minutes=1)


async def test_an_approval_after_the_deadline_is_none_also_by_a_process_that_has_just_started(
    skipping: SkippingWorld,
) -> None:
    org_id = await an_organization(skipping.engine)
    proposal = proposed(org_id)
    async with skipping.engine.begin() as connection:
        now: datetime = (await connection.execute(select(func.now()))).scalar_one()
        yesterday = now - timedelta(days=1)
        await adjustments.create(connection, proposal, now - timedelta(days=8), yesterday)
    expired = await ended(await start(skipping.temporal, proposal, "bob: too late"))
    assert (expired.state, expired.decision) == (AdjustmentState.EXPIRED, None)
    assert await balance_of(skipping.engine, org_id) == 0


async def test_what_was_approved_is_posted_once_when_a_fault_is_over(
    skipping: SkippingWorld,
) -> None:
    org_id = await an_organization(skipping.engine)
    proposal = proposed(org_id)
    async with skipping.engine.begin() as connection:
        for statement in FAILS_FIVE_TIMES:
            await connection.exec_driver_sql(statement.format(proposal.adjustment_id))
    handle = await start(skipping.temporal, proposal, "bob: looks right")
    assert (await ended(handle)).state is AdjustmentState.APPLIED
    assert await tries(handle, "settle_adjustment") == 2
    assert await keys_of(skipping.engine, org_id) == [f"adjustment:{proposal.adjustment_id}"]
    assert await balance_of(skipping.engine, org_id) == BIG
