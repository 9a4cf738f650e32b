"""What the book of powers has to say of a reconciliation that a person asks for."""

from billing.adjustments import Who
from billing.admin_log import AdminAction, AdminChange
from billing.reconciliation.reconciliation import Reconciliation, Run


def asked_for(by: Who, wanted: Reconciliation, run: Run) -> AdminChange:
    """Tell the book of a run, once: of the first who asks for it, and not of who joins it."""
    return AdminChange(
        by,
        AdminAction.RECONCILIATION_ASKED,
        run.run_id,
        wanted.org_id,
        after={"source": wanted.source, "dry_run": wanted.dry_run},
        once=f"reconciliation/{run.run_id}",
    )
