"""What the book of powers has to say of decisions about work that waits."""

import re
from dataclasses import asdict

from billing.adjustments import Adjustment, ApprovalVerdict, Proposal, Who
from billing.admin_log import AdminAction, AdminChange, Values
from billing.parking.parked_work import BulkDecision, DecisionRecord, ParkedWork, Verdict, said

# Whoever can reach Temporal may have said it, under whatever name.
BY_TEMPORAL = "Temporal"
VERDICTS = {
    Verdict.REPROCESS: AdminAction.PARKED_REPROCESSED,
    Verdict.DISCARD: AdminAction.PARKED_DISCARDED,
}
_APPROVALS = {
    ApprovalVerdict.APPROVED: AdminAction.ADJUSTMENT_APPROVED,
    ApprovalVerdict.REJECTED: AdminAction.ADJUSTMENT_REJECTED,
}
_OF_BULK = re.compile(r"(.*) \(bulk ([^ ()]+)\)", re.DOTALL)


def heard_by(record: DecisionRecord) -> tuple[str, str]:
    """Return about what, and for which reason, the book has a line if this came by API or command.

    What was told to one of many stands there as the decision about all of them.
    """
    of_bulk = _OF_BULK.fullmatch(record.who_and_why)
    return (of_bulk[2], of_bulk[1]) if of_bulk else (record.workflow_id, record.who_and_why)


def decided_about(
    by: Who, action: AdminAction, work: ParkedWork, who_and_why: str, after: Values | None = None
) -> AdminChange:
    """Tell the book of a decision about one process, in the words that the process records."""
    parked = work.parked
    before = {"parked": parked.reason}
    return AdminChange(
        by, action, work.workflow_id, parked.org_id, before, after or {}, reason=said(who_and_why)
    )


def decided_about_many(by: Who, bulk: BulkDecision) -> AdminChange:
    """Tell the book of a decision about many, once; what it told each stands in `decisions`."""
    which = {name: value for name, value in asdict(bulk.which).items() if value is not None}
    return AdminChange(
        by,
        AdminAction.BULK_DECIDED,
        bulk.bulk_id,
        bulk.which.org_id,
        after={"verdict": bulk.verdict, "which": which},
        reason=said(bulk.who_and_why),
        once=f"bulk/{bulk.bulk_id}",
    )


def said_in_temporal(record: DecisionRecord) -> AdminChange:
    """Tell the book of what somebody has said to a process without our API and command."""
    action = VERDICTS[Verdict(record.verdict)]
    return AdminChange(
        Who(None, BY_TEMPORAL, record.who_and_why.partition(":")[0][:200] or None),
        action,
        record.workflow_id,
        record.org_id,
        {"parked": record.reason},
        {},
        reason=record.who_and_why,
        once=f"decision/{record.workflow_id}/{record.run_id}/{record.number}",
    )


def asked_for(proposal: Proposal) -> AdminChange:
    """Tell the book of an adjustment that somebody asks for."""
    after = {
        "direction": proposal.direction,
        "amount_minor": proposal.amount.amount_minor,
        "currency": proposal.amount.currency,
        "account": proposal.account,
        "needs_approval": proposal.needs_approval,
    }
    return AdminChange(
        proposal.requested_by,
        AdminAction.ADJUSTMENT_ASKED,
        proposal.adjustment_id,
        proposal.org_id,
        after=after,
        reason=proposal.reason,
        once=f"adjustment/{proposal.adjustment_id}:asked",
    )


def decided_adjustment(adjustment: Adjustment) -> AdminChange | None:
    """Tell the book of an approval or a rejection; None if nobody had to decide."""
    decision = adjustment.decision
    if decision is None:
        return None
    return AdminChange(
        decision.by,
        _APPROVALS[decision.verdict],
        adjustment.adjustment_id,
        adjustment.org_id,
        {"state": "pending"},
        {"state": adjustment.state},
        reason=decision.note,
        once=f"adjustment/{adjustment.adjustment_id}:decided",
    )
