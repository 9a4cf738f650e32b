"""Ask the process of an adjustment to make it, and to decide about it."""

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy

from billing.adjustments import Adjustment, ApprovalVerdict, Proposal, Word
from billing.errors import SameOperator
from processes.request import answer_of, update_with_start
from workflows import adjust as workflow
from workflows.adjust import Adjust

_UPDATES = {ApprovalVerdict.APPROVED: "approve", ApprovalVerdict.REJECTED: "reject"}


async def adjust(temporal: Client, proposal: Proposal) -> Adjustment:
    """Start an adjustment's process; return the adjustment once it is posted or awaits approval.

    Raise TemporalUnavailable.
    """
    return await answer_of(
        temporal,
        lambda: update_with_start(temporal, _start(proposal), "opened", Adjustment),
        otherwise="nothing was adjusted",
    )


async def decide(
    temporal: Client, proposal: Proposal, verdict: ApprovalVerdict, word: Word
) -> Adjustment:
    """Approve or reject an adjustment; return what became of it.

    Start the process again if it was lost. Raise SameOperator and TemporalUnavailable.
    """
    update = _UPDATES[verdict]
    return await answer_of(
        temporal,
        lambda: update_with_start(temporal, _start(proposal), update, Adjustment, word),
        otherwise="nothing was decided",
        refusals=(SameOperator,),
    )


def _start(proposal: Proposal) -> WithStartWorkflowOperation[Adjust, Adjustment]:
    return WithStartWorkflowOperation(
        Adjust.run,
        proposal,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **workflow.start_options(proposal),
    )
