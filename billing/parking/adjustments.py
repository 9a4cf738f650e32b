"""An adjustment that waits for a second operator: its page, and the decision about it."""

from billing.adjustments import Adjustment, workflow_id
from billing.parking.parked import APPROVAL, Parked
from billing.parking.parked_work import DecisionRecord, said


def waits_for_approval(adjustment: Adjustment) -> Parked:
    """Explain an adjustment that a second operator has to look at."""
    return Parked(
        reason=APPROVAL,
        happened=f"{adjustment.requested_by} asks for an adjustment that {adjustment} by hand:"
        f" “{adjustment.reason}”. So much, at once or in a day, needs a second operator. Nothing is"
        f" posted until then, and nothing ever unless it is approved before"
        f" {adjustment.expires_at:%Y-%m-%d %H:%M} UTC.",
        org_id=adjustment.org_id,
        at_risk=adjustment.amount,
        until=adjustment.expires_at,
    )


def decision_record(adjustment: Adjustment) -> DecisionRecord | None:
    """Write what was decided about an adjustment as all decisions are; None if nobody had to.

    It is about the adjustment, whichever run of its process hears it, and there is one at most: no
    run has the empty id, so this is nobody else's place among the decisions about that process.
    """
    decision = adjustment.decision
    if decision is None:
        return None
    return DecisionRecord(
        workflow_id=workflow_id(adjustment.adjustment_id),
        run_id="",
        number=1,
        verdict=decision.verdict,
        who_and_why=said(f"{decision.by}: {decision.note}"),
        org_id=adjustment.org_id,
        reason=APPROVAL if adjustment.needs_approval else None,
        decided_at=decision.at,
    )
