"""Every hour, check that the ledger agrees with itself and with what was charged."""

from temporalio import workflow

from activities.ledger.audit import AuditActivities
from billing.ledger.audit import Audit
from workflows.shared.alert_requests import deliver_alerts
from workflows.shared.options import AUDIT


@workflow.defn
class AuditLedger:
    """Audit the ledger, record the result, and send alerts.

    It repairs nothing: what does not agree is for a person to put right.
    """

    @workflow.run
    async def run(self) -> Audit:
        """Audit the whole ledger; return what was found."""
        audit = await workflow.execute_activity_method(
            AuditActivities.audit_ledger,
            workflow.now(),
            summary="look at everything there is",
            **AUDIT,
        )
        workflow.set_current_details(_page(audit))
        await deliver_alerts()
        return audit


def _page(audit: Audit) -> str:
    named = [f"- `{one.check}` **{one.subject}**: {one.detail}" for one in audit.flaws[:100]]
    title = f"{len(audit.flaws)} rows do not agree" if audit.flaws else "Everything agrees"
    return "\n".join(
        (f"## {title}", f"{audit.wallets} wallets, {audit.entries} entries", "", *named)
    )
