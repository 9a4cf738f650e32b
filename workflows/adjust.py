"""Somebody asks for an adjustment: post it, or have a second operator look at it first."""

from temporalio import workflow
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError

from activities.adjustments import AdjustmentActivities, AdjustmentOpening, Ruling
from activities.temporal.search_attributes import ORG_ID, RUNNING, BillingState
from billing.adjustments import (
    APPROVAL_WAITS,
    Adjustment,
    AdjustmentState,
    ApprovalVerdict,
    Decision,
    Direction,
    Proposal,
    Who,
    Word,
    require_second,
    ruled,
    workflow_id,
)
from billing.alerts.adjustments import alert_about
from billing.errors import SameOperator
from billing.parking.adjustments import waits_for_approval
from billing.parking.parked import Parked
from billing.parking.parked_work import said
from workflows.shared.alert_requests import deliver_alerts
from workflows.shared.collection_requests import collect_waiting
from workflows.shared.options import BILLING_QUEUE, DATABASE, PATIENT, ActivityOptions, StartOptions
from workflows.shared.parking import Parking
from workflows.shared.recharge_requests import recharge_short

# Temporal does not tell who has sent a signal.
SIGNALLED = "a signal in Temporal"


@workflow.defn
class Adjust(Parking):
    """One adjustment, one entry at most; its row says where it stands, also to a later run."""

    @workflow.init
    def __init__(self, proposal: Proposal) -> None:
        super().__init__()
        self._proposal = proposal
        self._adjustment: Adjustment | None = None
        self._decision: Decision | None = None

    @workflow.signal(description="Post it. One string: who you are and why. No key is shown: told.")
    def approve(self, who_and_why: str) -> None:
        """Approve without a key; it is recorded so, and an alert."""
        self._signalled(ApprovalVerdict.APPROVED, who_and_why)

    @workflow.signal(description="Do not post it. One string: who you are and why.")
    def reject(self, who_and_why: str) -> None:
        """Reject without a key."""
        self._signalled(ApprovalVerdict.REJECTED, who_and_why)

    @workflow.update(name="approve", description="The API's way: by a key that was checked.")
    async def approve_now(self, word: Word) -> Adjustment:
        """Approve; return what became of it, which may be what another has decided."""
        self._decide(ApprovalVerdict.APPROVED, word)
        return await self._settled()

    @workflow.update(name="reject", description="The API's way: by a key that was checked.")
    async def reject_now(self, word: Word) -> Adjustment:
        """Reject; return what became of it, which may be what another has decided."""
        self._decide(ApprovalVerdict.REJECTED, word)
        return await self._settled()

    @workflow.update(description="Answers as soon as it is posted, or waits for a decision.")
    async def opened(self) -> Adjustment:
        """Return the adjustment; whether it waits is known when it is kept."""
        await workflow.wait_condition(lambda: self._adjustment is not None)
        return self._found if self._found.needs_approval else await self._settled()

    @approve_now.validator
    def _may_approve(self, word: Word) -> None:
        try:
            require_second(self._proposal, word.by)
        except SameOperator as refusal:
            raise ApplicationError(str(refusal), type=refusal.code) from refusal

    @workflow.run
    async def run(self, proposal: Proposal) -> Adjustment:
        """Wait for a decision if there has to be one; then post, or not."""
        adjustment = await self.until_settled(self._attempt)
        if adjustment is None:
            adjustment = await self._give_up()
        is_applied = adjustment.state is AdjustmentState.APPLIED
        if is_applied:
            await _follow(proposal)
        state = BillingState.SETTLED if is_applied else BillingState.DISCARDED
        await self.close(state, proposal.org_id, proposal.amount)
        return adjustment

    async def _attempt(self) -> Adjustment | Parked:
        self.found_owner(self._proposal.org_id)
        adjustment = self._adjustment or await self._open(DATABASE)
        after = ruled(adjustment, self._decision, workflow.now())
        if after.state is AdjustmentState.PENDING:
            return waits_for_approval(adjustment)
        return await self._settle(DATABASE)

    async def _give_up(self) -> Adjustment:
        """Reject what was discarded; what was posted before stands."""
        if self._adjustment is None:
            await self._open(PATIENT)
        by, now = Who(None, SIGNALLED), workflow.now()
        self._decision = Decision(ApprovalVerdict.REJECTED, by, self.discarded_by, now)
        return await self._settle(PATIENT)

    async def _open(self, options: ActivityOptions) -> Adjustment:
        now = workflow.now()
        return await self._keep(
            await workflow.execute_activity_method(
                AdjustmentActivities.open_adjustment,
                AdjustmentOpening(self._proposal, now, now + APPROVAL_WAITS),
                summary="keep what is asked for",
                **options,
            )
        )

    async def _settle(self, options: ActivityOptions) -> Adjustment:
        return await self._keep(
            await workflow.execute_activity_method(
                AdjustmentActivities.settle_adjustment,
                Ruling(self._proposal.adjustment_id, workflow.now(), self._decision),
                summary="post it, or record that it is not posted",
                **options,
            )
        )

    async def _keep(self, adjustment: Adjustment) -> Adjustment:
        self._adjustment = adjustment
        if alert_about(adjustment) is not None:
            await deliver_alerts()
        return adjustment

    def _signalled(self, verdict: ApprovalVerdict, who_and_why: str) -> None:
        """Decide without a key; who does not even say who they are decides nothing."""
        if who := said(who_and_why):
            self._decide(verdict, Word(Who(None, SIGNALLED), who))

    def _decide(self, verdict: ApprovalVerdict, word: Word) -> None:
        """Take the first decision; whether it came in time is seen when it is known until when."""
        if self._decision is None:
            self._decision = Decision(verdict, word.by, word.note, workflow.now())
        self.wake()

    async def _settled(self) -> Adjustment:
        await workflow.wait_condition(
            lambda: (
                self._adjustment is not None
                and self._adjustment.state is not AdjustmentState.PENDING
            )
        )
        return self._found

    @property
    def _found(self) -> Adjustment:
        if self._adjustment is None:
            raise ValueError("the adjustment was not opened")
        return self._adjustment


async def _follow(proposal: Proposal) -> None:
    """Money that was given may pay what waits; money that was taken may leave a wallet short."""
    if proposal.direction is Direction.CREDIT:
        await collect_waiting(proposal.org_id)
    else:
        await recharge_short(proposal.org_id)


def start_options(proposal: Proposal) -> StartOptions:
    """Return how an adjustment is started: one at a time; the row holds that it acts once."""
    about = SearchAttributePair(ORG_ID, proposal.org_id)
    return StartOptions(
        id=workflow_id(proposal.adjustment_id),
        task_queue=BILLING_QUEUE,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        static_summary=f"Adjust the wallet of {proposal.org_id}: {proposal}"[:200],
        search_attributes=TypedSearchAttributes([*RUNNING, about]),
    )
