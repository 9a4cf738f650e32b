"""What of a provider's list cannot be compared with the ledger, and so is looked at by itself."""

from billing.calls.call import EndedCall
from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import Finding, FindingKind, FindingOutcome, Run


def uncompared(run: Run, subject: str, problem: str, org_id: str | None = None) -> Finding:
    """Return the finding of a call or payment that cannot be compared, whatever is said of it.

    It is handed on to its own process, which asks the provider for it, and parks if it must.
    `org_id` is whose it is, if that is known.
    """
    return Finding(
        subject=subject,
        kind=FindingKind.UNBILLED,
        occurred_at=run.started_at,
        org_id=org_id,
        detail=f"it cannot be compared ({problem})",
        call=EndedCall(subject) if run.source is Source.VAPI else None,
        outcome=FindingOutcome.REPORTED if run.dry_run else FindingOutcome.OPEN,
    )


def unnamed(run: Run, place: str, problem: str, org_id: str | None = None) -> Finding:
    """Return the finding of something in a list that no process can be named for.

    `org_id` is whose it is, if that is known.
    """
    return Finding(
        subject=f"unreadable:{place}",
        kind=FindingKind.UNBILLED,
        occurred_at=run.started_at,
        org_id=org_id,
        detail=f"it cannot be read ({problem})",
        outcome=FindingOutcome.REPORTED,
    )
